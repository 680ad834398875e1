"""Clip the adjoint's norm at every time step, inside the backward pass (in the spirit of Graves 2013)."""

import torch
from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Positive, component


@component
class ClipNorm(AdjointRule):
    """a <- a * max_norm / |a| for every example and step whose adjoint a = dL_b/dh_t is longer than max_norm."""

    max_norm: Positive

    def meet(self, adjoint_RBH: Tensor, direct_RB1: Tensor) -> Tensor:
        norm_RB1 = torch.linalg.vector_norm(adjoint_RBH, dim=-1, keepdim=True, dtype=torch.float64)
        return adjoint_RBH * (self.max_norm / norm_RB1).clamp(max=1.0).to(adjoint_RBH.dtype)
