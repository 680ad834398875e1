"""Antisymmetric recurrent weights with diffusion (Chang, Chen, Haber & Chi 2019)."""

import torch
from torch import Tensor

from rnnlab.contract import NonNegative, component
from rnnlab.parametrisations.matrices import below_diagonal, skew
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class Antisymmetric(Parametrisation):
    """W = A - A^T - gamma I: every eigenvalue of W has the real part -gamma.

    The H (H - 1) / 2 entries of A - A^T below the diagonal are trained. They begin as those of the draw's antisymmetric
    part, (W_0 - W_0^T) / 2, the nearest there is; its symmetric part is lost.

    Args:
        gamma: the diffusion, >= 0. (In the paper's step h_t = h_{t-1} + epsilon tanh(...) it damps what the
            discretisation by epsilon makes grow.)
    """

    gamma: NonNegative

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        return {"below": below_diagonal((drawn - drawn.T) / 2)}, {}

    def weight(self, *, below: Tensor) -> Tensor:
        A = skew(below)
        return A - self.gamma * torch.eye(len(A), dtype=A.dtype, device=A.device)
