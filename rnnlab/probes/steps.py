"""The paths that a batch takes through the states of a net's cells, for probes that look at single time steps.

T time, R replica, B batch, N all steps and examples, I input, H hidden.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine
from rnnlab.bptt.passage import Call, Passage
from rnnlab.bptt.unroll import Unrolled
from rnnlab.bptt.walk import Step, walk
from rnnlab.cells.cell import Cell, State
from rnnlab.tasks.task import Batch

Applied = dict[nn.Module, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True, eq=False)
class Path:
    """The steps of one call, with the graph that leads from them to the prediction, where one is kept.

    applied: argument and result of every time that the cell applied one of its activations.
    """

    call: Call
    steps: list[Step]
    applied: Applied

    def made(self, state: str) -> list[Tensor]:
        """A state component as the cell made it, (R, B, H) per step."""
        return [step.made[self.call.cell.states.index(state)] for step in self.steps]


def paths(model: Model, batch: Batch, passage_by: Callable[[Engine], Passage]) -> tuple[list[Path], Tensor]:
    """The path of every call, and what the readout sees (K, R, B, H').

    The initial states require a gradient, so that there is one of every state, whatever parameters do.

    Args:
        passage_by: makes a passage in which nothing is dropped and no adjoint rule acts.
    """
    walked: list[tuple[list[Step], Applied]] = []

    def unroll(
        cell: Cell,
        input_TRBI: Tensor,
        *,
        state: State | None,
        mask_TRB: Tensor | None,
        last: int | None,
        **_: object,
    ) -> Unrolled:
        start = state or cell.zero_state(input_TRBI[0])
        start = tuple(s if s.requires_grad else s.detach().requires_grad_() for s in start)
        with _watched(cell) as applied:
            steps = list(walk(cell, input_TRBI, start, mask_TRB))
        walked.append((steps, applied))
        kept = steps if last is None else steps[-last:]
        return Unrolled(torch.stack([step.output_RBH for step in kept]), steps[-1].after, None)

    passage = passage_by(Engine("autograd", "its steps are looked at", 1, unroll))
    output_KRBH = model.outputs(batch, passage)
    return [Path(call, *kept) for call, kept in zip(passage.calls, walked, strict=True)], output_KRBH


@contextmanager
def _watched(cell: Cell) -> Iterator[Applied]:
    applied: Applied = {child: [] for child in cell.children()}

    def keep(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        applied[module].append((given[0], result))

    hooks = [child.register_forward_hook(keep) for child in applied]
    try:
        yield applied
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class AllSteps:
    """All time steps and examples side by side, N = T * B with T outermost, as one batch that a cell steps at once.

    call: that they are of; input_RNI, state: what the steps start from.
    """

    call: Call
    input_RNI: Tensor
    state: State

    @classmethod
    def of(cls, path: Path) -> "AllSteps":
        components = zip(*(step.before for step in path.steps), strict=True)
        return cls(path.call, _flat(path.call.input_TRBI.detach()), tuple(side_by_side(c) for c in components))

    def apart(self, values_RNH: Tensor, *, absent: float) -> Tensor:
        """(R, T, B, H) of what a cell makes of them; `absent` at steps that an example does not have."""
        T, R, B, _ = self.call.input_TRBI.shape
        values_RTBH = values_RNH.detach().view(R, T, B, -1)
        if self.call.mask_TRB is None:
            return values_RTBH
        return values_RTBH.masked_fill(~self.call.mask_TRB.transpose(0, 1).unsqueeze(-1), absent)

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
        T, R, B, _ = self.call.input_TRBI.shape
        mask_TRB = self.call.mask_TRB
        return self.call.input_TRBI.new_full((R, T), B) if mask_TRB is None else mask_TRB.sum(-1).T


def side_by_side(values: Sequence[Tensor]) -> Tensor:
    """(R, N, H) of one tensor (R, B, H) per time step."""
    return _flat(torch.stack(tuple(values)).detach())


def _flat(values_TRBX: Tensor) -> Tensor:
    T, R, B, X = values_TRBX.shape
    return values_TRBX.transpose(0, 1).reshape(R, T * B, X)
