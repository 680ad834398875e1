"""What a regulariser is: a penalty on every call of a cell, added to each replica's loss.

T time, R replica, B batch, H hidden.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call, Passage

NEEDS = ("outputs", "adjoints")


class Regulariser:
    """A penalty that is added to each replica's mean loss, summed over the calls of the net's cells.

    What is differentiated in training is the sum over the batch (the mean is taken later), so the penalty has weight B.
    """

    acts: ClassVar[bool] = True
    """False: there is none."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Which of NEEDS it looks at. One that needs adjoints penalises the recurrent weights alone."""

    def penalty(self, call: Call) -> Tensor:
        """(R,), of one call. `call.unrolled` has the outputs and the adjoints of every step where they are needed."""
        raise NotImplementedError

    @property
    def updates_at_first(self) -> int:
        """How many updates by `penalty_at_first` alone the drawn net is given before training."""
        return 0

    def penalty_at_first(self, call: Call) -> Tensor:
        """(R,), likewise, before training."""
        return self.penalty(call)

    def at_first(self, passage: Passage) -> Tensor:
        """(R,): that penalty on every call."""
        return _over_calls(self.penalty_at_first, passage)

    def before(self, passage: Passage) -> Tensor:
        """(R,), zeros without one: the penalty that goes back together with the loss."""
        if "adjoints" in self.needs or not self.acts:
            return passage.nothing()
        return _over_calls(self.penalty, passage)

    def after(self, passage: Passage) -> Tensor | None:
        """(R,), where it needs the adjoints that the loss's backward pass has left: it goes back here, by itself."""
        if "adjoints" not in self.needs:
            return None
        B = passage.calls[0].input_TRBI.shape[2]
        penalty_R = _over_calls(self.penalty, passage)
        weights = [call.cell.weight_recurrent for call in passage.calls]
        torch.autograd.backward(B * penalty_R.sum(), inputs=weights)
        return penalty_R.detach()


def _over_calls(penalty: Callable[[Call], Tensor], passage: Passage) -> Tensor:
    first, *others = map(penalty, passage.calls)
    return sum(others, start=first)


def mean_over_steps(value_TRB: Tensor, count_TRB: Tensor) -> Tensor:
    """(R,): the mean over the examples of each one's mean over the steps that count (1; the others 0)."""
    sum_RB = (value_TRB * count_TRB).permute(1, 2, 0).contiguous().sum(-1)  # along one replica's memory
    return (sum_RB / count_TRB.sum(0).clamp(min=1)).mean(-1)
