"""Small states (AR of Merity, McCann & Socher 2017)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.contract import Positive, component
from rnnlab.regularisers.regulariser import Regulariser, mean_over_steps


@component
class Activation(Regulariser):
    """P = strength mean_{t,i} h_{t,i}^2 over steps and units; mean over the batch.

    h is the cell's output, before dropout. Steps that an example does not have do not count. (The paper writes a norm
    of the output as dropout leaves it; its published code takes this mean of squares, of that output.)

    Args:
        strength: the paper's alpha, > 0.
    """

    strength: Positive

    needs: ClassVar[tuple[str, ...]] = ("outputs",)

    def penalty(self, call: Call) -> Tensor:
        return self.strength * mean_over_steps(call.unrolled.output_KRBH.square().mean(-1), call.live)
