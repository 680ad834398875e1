"""Orthogonal recurrent weights by the matrix exponential (Lezcano-Casado & Martinez-Rubio 2019)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.contract import component
from rnnlab.parametrisations.matrices import nearest_orthogonal, skew
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class Exponential(Parametrisation):
    """W = W_0 exp(A), A = -A^T: orthogonal to rounding after any number of updates.

    The H (H - 1) / 2 entries of A below the diagonal are trained, from 0. W_0 stays: it is the orthogonal matrix
    nearest to what the initialiser drew, so an orthogonal draw is kept, and its determinant, 1 or -1, for good. (The
    paper's trivialisation at W_0 instead of at the identity: Lezcano-Casado 2019.)
    """

    orthogonal: ClassVar[bool] = True

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        size = len(drawn)
        return {"below": drawn.new_zeros(size * (size - 1) // 2)}, {"origin": nearest_orthogonal(drawn)}

    def weight(self, *, below: Tensor, origin: Tensor) -> Tensor:
        return origin @ torch.linalg.matrix_exp(skew(below))
