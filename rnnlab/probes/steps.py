"""The path that a training step's sequences took through the states, for probes that look at single time steps.

T time, R replica, B batch, N all steps and examples, I input, H hidden.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.cells.cell import Cell, State
from rnnlab.tasks.task import Batch


@dataclass(frozen=True)
class Step:
    """One time step.

    before: the state that it starts from.
    made: the state that the cell makes of it; an example that does not have the step carries `before` on instead.
    output_RBH: as `unroll` returns it.
    """

    before: State
    made: State
    output_RBH: Tensor


def walk(cell: Cell, batch: Batch, state: State) -> Iterator[Step]:
    """The steps of a batch's sequences, in a plain loop of the cell: the definition that the engines share.

    Args:
        state: the initial one.
    """
    for t, input_RBI in enumerate(batch.input):
        output, made = cell.step(input_RBI, state)
        after = made
        if batch.mask is not None:
            live_RB1 = batch.mask[t].unsqueeze(-1)
            after = tuple(torch.where(live_RB1, new, old) for new, old in zip(made, state, strict=True))
        yield Step(state, made, after[0] if output is made[0] else output)
        state = after


@dataclass(frozen=True)
class AllSteps:
    """All time steps and examples side by side, N = T * B with T outermost, as one batch that a cell steps at once.

    input_RNI, state: what the steps start from.
    """

    batch: Batch
    input_RNI: Tensor
    state: State

    @classmethod
    def of(cls, batch: Batch, steps: list[Step]) -> "AllSteps":
        components = zip(*(step.before for step in steps), strict=True)
        return cls(batch, _flat(batch.input), tuple(side_by_side(c) for c in components))

    def apart(self, values_RNH: Tensor, *, absent: float) -> Tensor:
        """(R, T, B, H) of what a cell makes of them; `absent` at steps that an example does not have."""
        T, R, B, _ = self.batch.input.shape
        values_RTBH = values_RNH.detach().view(R, T, B, -1)
        if self.batch.mask is None:
            return values_RTBH
        return values_RTBH.masked_fill(~self.batch.mask.transpose(0, 1).unsqueeze(-1), absent)

    def means(self, name: str, values_RNH: Tensor) -> dict[str, Tensor]:
        """NAME (R,) and NAME_at_step (R, T), float64, over units, examples and steps; NaN for a step that none has."""
        sum_RT = self.apart(values_RNH, absent=0.0).sum(-1).sum(-1, dtype=torch.float64)
        count_RT = values_RNH.shape[-1] * self._live()
        return {name: sum_RT.sum(-1) / count_RT.sum(-1), f"{name}_at_step": sum_RT / count_RT}

    def unit_means(self, values_RNH: Tensor) -> Tensor:
        """(R, H), float64: over examples and steps."""
        sum_RH = self.apart(values_RNH, absent=0.0).flatten(1, 2).sum(1, dtype=torch.float64)
        return sum_RH / self._live().sum(-1, keepdim=True)

    def _live(self) -> Tensor:
        """(R, T): how many examples have a step."""
        T, R, B, _ = self.batch.input.shape
        return self.batch.input.new_full((R, T), B) if self.batch.mask is None else self.batch.mask.sum(-1).T


def side_by_side(values: Sequence[Tensor]) -> Tensor:
    """(R, N, H) of one tensor (R, B, H) per time step."""
    return _flat(torch.stack(tuple(values)).detach())


def _flat(values_TRBX: Tensor) -> Tensor:
    T, R, B, X = values_TRBX.shape
    return values_TRBX.transpose(0, 1).reshape(R, T * B, X)
