"""States that change slowly (TAR of Merity, McCann & Socher 2017)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.contract import Positive, component
from rnnlab.regularisers.regulariser import Regulariser, mean_over_steps


@component
class TemporalActivation(Regulariser):
    """P = strength mean_{t,i} (h_{t,i} - h_{t-1,i})^2, t = 2, ..., T, over steps and units; mean over the batch.

    h is the cell's output. Only pairs of steps that an example has count. (The paper writes a norm; its published code
    takes this mean of squares.)

    Args:
        strength: the paper's beta, > 0.
    """

    strength: Positive

    needs: ClassVar[tuple[str, ...]] = ("outputs",)

    def penalty(self, call: Call) -> Tensor:
        change_TRB = (call.unrolled.output_KRBH[1:] - call.unrolled.output_KRBH[:-1]).square().mean(-1)
        return self.strength * mean_over_steps(change_TRB, call.live[:-1])
