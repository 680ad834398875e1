"""What a probe is, and what it gets to see.

T time, R replica, S state component, B batch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine
from rnnlab.bptt.passage import Call, Passage, Recorded, Update
from rnnlab.clipping.gradient_step import Clipping
from rnnlab.tasks.task import Batch, Task

Named = dict[str, Tensor]
NEEDS = ("adjoints", "initial", "previous")


@dataclass(frozen=True)
class Moment:
    """One training step of the replicas that took it. Everything is a copy: a probe may do with it what it likes.

    task, engine, adjoint_rule, clipping: the experiment's.
    step: which update, 1-based; seeds: (R,).
    model: with the parameters from before the update. Where recurrent weights are parametrised, here and below they are
        the effective ones that the cells compute with, `CELL.weight_recurrent`.
    batch: what the step was trained on, (T, R, B, I).
    gradients: of each replica's mean loss by parameter name, (R, ...), before clipping.
    trained_gradients: likewise, of what is trained: of a parametrisation's parameters in place of what they make.
    updates: what the update added to each parameter.
    adjoints: of every call and layer; None unless a probe needs `adjoints`.
    initial: the parameters that training began with; None unless a probe needs `initial`.
    previous: the gradients of the step before; None unless a probe needs `previous`, and at the first step.
    memory: what the clipping rule remembered before this step; see rnnlab.clipping.gradient_step.
    interrupted: to be asked by what takes long, see rnnlab.interruption.obey: the step is taken back then.
    """

    task: Task
    engine: Engine
    adjoint_rule: AdjointRule
    clipping: Clipping
    step: int
    seeds: list[int]
    model: Model
    batch: Batch
    gradients: Named
    trained_gradients: Named
    updates: Named
    adjoints: list[Recorded] | None
    initial: Named | None
    previous: Named | None
    memory: Named
    interrupted: Callable[[], bool] = lambda: False

    @cached_property
    def calls(self) -> list[Call]:
        """What every call of a cell was given, with nothing dropped; without a graph."""
        passage = self.passage()
        with torch.no_grad():
            self.model(self.batch, passage)
        return passage.calls

    def passage(self, engine: Engine | None = None) -> Passage:
        """For the batch through the model as in training, but with nothing dropped and no adjoint rule.

        Args:
            engine: in place of the experiment's.
        """
        return self._passage(self.batch, self.seeds, NoRule(), engine or self.engine)

    def passage_as_trained(self, batch: Batch, seeds: list[int]) -> Passage:
        """With the adjoint rule that this step went by, for replicas with these seeds."""
        return self._passage(batch, seeds, self.adjoint_rule, self.engine)

    def _passage(self, batch: Batch, seeds: list[int], rule: AdjointRule, engine: Engine) -> Passage:
        return Passage(
            engine,
            scored=self.task.scored,
            mask_TRB=batch.mask,
            target_KRBO=batch.target_outputs(self.task.outputs),
            rule=rule,
            update=Update(seeds, self.step),
        )

    def rule(self, input_TRBI: Tensor) -> AdjointRule:
        """The adjoint rule that this step went by in a call with such inputs."""
        return self.adjoint_rule.draw(self.seeds, self.step, len(input_TRBI), input_TRBI)


class Probe(Protocol):
    """Measures something of a training step. At which steps is not its business: see rnnlab.timetable.

    Figures of a cell are named with its prefix: see `joined`. One that says `why_not`, see rnnlab.plan, is left out.
    """

    needs: ClassVar[tuple[str, ...]]
    """Which of NEEDS it looks at; what none looks at is not made."""

    def measure(self, moment: Moment) -> Named:
        """Tensors (R, ...) by name. Those of shape (R,) are also lines of metrics and TensorBoard's curves."""
        ...


def prefixed(prefix: str, figures: Named) -> Named:
    """Figures of one cell, by their names among those of a net with several."""
    return {f"{prefix}{name}": value for name, value in figures.items()}


def joined(figures: Iterable[tuple[Call, Named]]) -> Named:
    """Figures of every call, likewise."""
    return {name: value for call, of_call in figures for name, value in prefixed(call.prefix, of_call).items()}
