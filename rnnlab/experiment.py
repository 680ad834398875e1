"""An experiment: everything that training needs, made from one configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine
from rnnlab.bptt.passage import Passage, Update
from rnnlab.cells.cell import Cell, Initialiser, initialise_cell
from rnnlab.clipping.gradient_step import Clipping
from rnnlab.config import Config
from rnnlab.dropout.dropout import Dropout
from rnnlab.interruption import obey
from rnnlab.make import make_model
from rnnlab.matching import Match
from rnnlab.memory.need import Need
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.probes.probe import Probe
from rnnlab.regularisers.regulariser import Regulariser
from rnnlab.streams import generator
from rnnlab.tasks.task import Batch, Task
from rnnlab.timetable import Timetable


@dataclass(frozen=True)
class Experiment:
    """Everything that a training loop needs, made from one configuration.

    `config` is that configuration with cell.hidden chosen where match_parameters asked for it; `match` says how.
    `timetables` say, by name, when each of the `probes` measures.
    `sources` are hashes of the user's own code and data, which determine the results too.
    `memory` is what training it needs at least.
    """

    config: Config
    match: Match | None
    memory: Need
    task: Task
    initialiser: Initialiser
    input_initialiser: Initialiser
    output_initialiser: Initialiser
    bias_initialiser: Initialiser
    parametrisation: Parametrisation
    rule: AdjointRule
    regulariser: Regulariser
    dropout: Dropout
    clipping: Clipping
    gradient_noise: Any
    optimiser: Any
    schedule: Any
    probes: dict[str, Probe]
    timetables: dict[str, Timetable]
    device: torch.device
    dtype: torch.dtype
    engine: Engine
    sources: dict[str, str]

    def model(self, seeds: list[int], interrupted: Callable[[], bool] = lambda: False) -> Model:
        """A freshly initialised population; replica r depends on seeds[r] alone.

        Raises:
            Interrupted: it was, which is asked before each replica is drawn.
        """
        config = self.config
        model = make_model(config.components, config.allowed_packages, self.task, replicas=len(seeds)).to(self.dtype)
        for replica, seed in enumerate(seeds):
            obey(interrupted)
            draw = generator(seed, "init")
            for part in model.parts.values():
                if isinstance(part, Cell):
                    recurrent = self.initialiser
                    initialise_cell(part, replica, recurrent, self.input_initialiser, self.bias_initialiser, draw)
                else:
                    part.draw(replica, self.input_initialiser, self.bias_initialiser, draw)
            model.initialise_readout(replica, self.output_initialiser, self.bias_initialiser, draw)
        model.parametrise(self.parametrisation)
        return model.to(self.device)

    def passage(self, batch: Batch, *, update: Update | None = None, record: bool = False) -> Passage:
        """A way of a batch through the model.

        Args:
            update: the training step that it is a part of; None for an evaluation, with no rule and nothing dropped.
            record: whether adjoint norms are recorded.
        """
        return Passage(
            self.engine,
            scored=self.task.scored,
            mask_TRB=batch.mask,
            target_KRBO=batch.target_outputs(self.task.outputs) if update else None,
            dropout=self.dropout,
            rule=self.rule if update else None,
            update=update,
            record=record,
            whole=update is not None and bool(self.regulariser.needs),
        )
