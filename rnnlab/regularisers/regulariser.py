"""What a regulariser is, and how its penalty is differentiated together with the loss.

T time, R replica, B batch, I input, H hidden, K kept steps.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell
from rnnlab.tasks.task import Batch

NEEDS = ("outputs", "adjoints")


@dataclass(frozen=True)
class Seen:
    """What a regulariser may look at in a training step.

    cell: its recurrent weights are the effective ones that it computes with.
    batch: what it was unrolled over.
    output_TRBH: the output of every step; None unless it is needed.
    adjoint_TRBH: the total adjoint of the output of every step; constant; None unless it is needed.
    """

    cell: Cell
    batch: Batch
    output_TRBH: Tensor | None
    adjoint_TRBH: Tensor | None

    def live(self) -> Tensor:
        """(T, R, B): 1 where an example has the step, else 0."""
        input_TRBI = self.batch.input
        return input_TRBI.new_ones(input_TRBI.shape[:3]) if self.batch.mask is None else self.batch.mask.to(input_TRBI)


@runtime_checkable
class Regulariser(Protocol):
    """A penalty that is added to each replica's mean loss."""

    acts: ClassVar[bool]
    """False: there is none."""
    needs: ClassVar[tuple[str, ...]]
    """Which of NEEDS it looks at. One that needs adjoints penalises the recurrent weights alone."""

    def penalty(self, seen: Seen) -> Tensor:
        """(R,), per replica."""
        ...


def differentiate(
    regulariser: Regulariser, cell: Cell, batch: Batch, unrolled: Unrolled, loss_RB: Tensor
) -> Tensor | None:
    """Accumulate the gradients of every example's loss and penalty; (R,) the penalty, None where there is none.

    Every example's loss has weight one (the mean over the batch is taken later), so the penalty has weight B.
    """
    if not regulariser.acts:
        loss_RB.sum().backward()
        return None
    B = loss_RB.shape[1]
    output_TRBH = unrolled.output_KRBH if regulariser.needs else None
    if "adjoints" not in regulariser.needs:
        penalty_R = regulariser.penalty(Seen(cell, batch, output_TRBH, None))
        (loss_RB.sum() + B * penalty_R.sum()).backward()
        return penalty_R.detach()
    loss_RB.sum().backward()
    assert output_TRBH is not None
    assert unrolled.adjoints is not None
    penalty_R = regulariser.penalty(Seen(cell, batch, output_TRBH.detach(), unrolled.adjoints[0]))
    torch.autograd.backward(B * penalty_R.sum(), inputs=[cell.weight_recurrent])
    return penalty_R.detach()


def mean_over_steps(value_TRB: Tensor, count_TRB: Tensor) -> Tensor:
    """(R,): the mean over the examples of each one's mean over the steps that count (1; the others 0)."""
    sum_RB = (value_TRB * count_TRB).permute(1, 2, 0).contiguous().sum(-1)  # along one replica's memory
    return (sum_RB / count_TRB.sum(0).clamp(min=1)).mean(-1)
