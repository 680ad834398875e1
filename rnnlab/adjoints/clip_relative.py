"""Clip the adjoint's norm at every step to a multiple of the loss's own derivative."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Positive, component


@component
class ClipRelative(AdjointRule):
    """a <- a b / |a| for every example and step with |a| > b = ratio max_k |d_k|, over the steps k from this one on.

    a = dL_b/dh_t is the total adjoint, d_k its direct part at step k: what the loss at that step alone asks for. A
    fixed threshold (`clip_norm`) stops to act as the loss falls, or acts on everything when it is large; this one
    goes along with the loss. Where only the last step is scored, it bounds the growth of the gradient along the
    sequence.

    Args:
        ratio: > 0.
    """

    ratio: Positive
    needs_direct: ClassVar[bool] = True

    def meet(self, adjoint_RBH: Tensor, direct_RB1: Tensor) -> Tensor:
        norm_RB1 = torch.linalg.vector_norm(adjoint_RBH, dim=-1, keepdim=True, dtype=torch.float64)
        bound_RB1 = self.ratio * direct_RB1
        factor_RB1 = torch.where(norm_RB1 > bound_RB1, bound_RB1 / norm_RB1, 1.0)
        return adjoint_RBH * factor_RB1.to(adjoint_RBH.dtype)
