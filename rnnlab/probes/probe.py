"""What a probe is, when it runs, and what it gets to see.

R replica, S state component, T time, B batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule, of_step
from rnnlab.tasks.task import Batch
from rnnlab.architectures.model import Model

if TYPE_CHECKING:
    from rnnlab.build import Experiment

Named = dict[str, Tensor]
NEEDS = ("adjoints", "initial", "previous")


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
        return of_step(self.experiment.rule, seeds, self.step, self.batch.input)


class Probe(Protocol):
    """Measures something at some training steps.

    A probe's file names every argument in its signature, the three of its schedule too: `every` (each so many updates;
    0: never), `first` (each of the first so many) and `per_decade` (so many per decade of steps, evenly on a
    logarithmic axis). See `due`. One that says `why_not`, see rnnlab.plan, is left out.
    """

    needs: ClassVar[tuple[str, ...]]
    """Which of NEEDS it looks at; what none looks at is not made."""

    @property
    def every(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def per_decade(self) -> int: ...

    def measure(self, moment: Moment) -> Named:
        """Tensors (R, ...) by name. Those of shape (R,) are also lines of metrics and TensorBoard's curves."""
        ...


def due(probe: Probe, step: int) -> bool:
    """Whether a probe's schedule has this step (1-based)."""
    if step <= probe.first or (probe.every > 0 and step % probe.every == 0):
        return True
    nearest = round(probe.per_decade * math.log10(step))
    return probe.per_decade > 0 and step == round(10 ** (nearest / probe.per_decade))
