"""Orthogonal recurrent weights by the Cayley transform (Helfrich, Willmott & Ye 2018)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.contract import component
from rnnlab.parametrisations.matrices import nearest_orthogonal, skew
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class Cayley(Parametrisation):
    """W = W_0 (I + A)^-1 (I - A), A = -A^T: orthogonal to rounding after any number of updates.

    The H (H - 1) / 2 entries of A below the diagonal are trained, from 0. W_0 stays: it is the orthogonal matrix
    nearest to what the initialiser drew, so an orthogonal draw is kept. It stands in place of the paper's diagonal D of
    1 and -1, which is there because the transform alone reaches no matrix with an eigenvalue of -1.
    """

    orthogonal: ClassVar[bool] = True

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        size = len(drawn)
        return {"below": drawn.new_zeros(size * (size - 1) // 2)}, {"origin": nearest_orthogonal(drawn)}

    def weight(self, *, below: Tensor, origin: Tensor) -> Tensor:
        A, identity = skew(below), torch.eye(len(origin), dtype=origin.dtype, device=origin.device)
        return origin @ torch.linalg.solve(identity + A, identity - A)
