"""States whose norm stays level along the sequence (Krueger & Memisevic 2016)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.contract import Positive, component
from rnnlab.regularisers.regulariser import Regulariser, mean_over_steps


@component
class NormStabiliser(Regulariser):
    """P = strength (1/T) sum_t (|h_t| - |h_{t-1}|)^2, t = 1, ..., T, h_0 = 0; mean over the batch.

    h is the cell's output (of an LSTM h, not c). Steps that an example does not have do not count.

    Args:
        strength: the paper's beta, > 0.
    """

    strength: Positive

    needs: ClassVar[tuple[str, ...]] = ("outputs",)

    def penalty(self, call: Call) -> Tensor:
        norm_TRB = torch.linalg.vector_norm(call.unrolled.output_KRBH, dim=-1) * call.live
        before_TRB = torch.cat([torch.zeros_like(norm_TRB[:1]), norm_TRB[:-1]])
        return self.strength * mean_over_steps((norm_TRB - before_TRB).square(), call.live)
