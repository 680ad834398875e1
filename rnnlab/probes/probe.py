"""What a probe is, and what it gets to see.

R replica, S state component, T time, B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.tasks.task import Batch
from rnnlab.training.model import Model

if TYPE_CHECKING:
    from rnnlab.build import Experiment

Named = dict[str, Tensor]
NEEDS = ("adjoints", "initial", "previous", "gates", "recurrent", "blocks")


@dataclass(frozen=True)
class Moment:
    """One training step of the replicas that took it. Everything is a copy: a probe may do with it what it likes.

    experiment: task, adjoint rule, engine and the rest.
    step: which update, 1-based; seeds: (R,).
    model: with the parameters from before the update. Where recurrent weights are parametrised, here and below they are
        the effective ones that the cell computes with, `cell.weight_recurrent`.
    batch: what the step was trained on, (T, R, B, I).
    gradients: of each replica's mean loss by parameter name, (R, ...), before clipping.
    trained_gradients: likewise, of what is trained: of a parametrisation's parameters in place of what they make.
    updates: what the update added to each parameter.
    adjoint_norm_STRB: float64, as `Unrolled` has it; None unless a probe needs `adjoints`.
    initial: the parameters that training began with; None unless a probe needs `initial`.
    previous: the gradients of the step before; None unless a probe needs `previous`, and at the first step.
    memory: what the clipping rule remembered before this step; see rnnlab.clipping.gradient_step.
    interrupted: to be asked by what takes long, see rnnlab.interruption.obey: the step is taken back then.
    """

    experiment: "Experiment"
    step: int
    seeds: list[int]
    model: Model
    batch: Batch
    gradients: Named
    trained_gradients: Named
    updates: Named
    adjoint_norm_STRB: Tensor | None
    initial: Named | None
    previous: Named | None
    memory: Named
    interrupted: Callable[[], bool] = lambda: False

    def rule(self, seeds: list[int]) -> AdjointRule:
        """The adjoint rule that this step went by, for replicas with these seeds."""
        return self.experiment.rule.draw(seeds, self.step, len(self.batch.input), self.batch.input)


class Probe(Protocol):
    """Measures something of a training step. At which steps is not its business: see rnnlab.probes.timetable."""

    needs: ClassVar[tuple[str, ...]]
    """Which of NEEDS it looks at; what none looks at is not made.

    `gates`, `recurrent` weights and their `blocks`, square matrices, are the cell's own (`rnnlab.cells.cell`): in a
    run whose cell has none the probe is left out.
    """

    def measure(self, moment: Moment) -> Named:
        """Tensors (R, ...) by name. Those of shape (R,) are also lines of metrics and TensorBoard's curves."""
        ...
