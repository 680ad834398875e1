"""Orthogonal recurrent weights by Householder reflections (Mhammedi, Hellicar, Rahman & Bailey 2017)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.contract import Count, component
from rnnlab.parametrisations.matrices import nearest_orthogonal
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class Householder(Parametrisation):
    """W = W_0 H(v_1) ... H(v_k), H(v) = I - 2 v v^T / |v|^2: orthogonal to rounding after any number of updates.

    The k = 2 `pairs` vectors v are trained. They begin in equal pairs, v_1 = v_2, v_3 = v_4, ..., whose reflections
    cancel, so that W begins as W_0: the orthogonal matrix nearest to what the initialiser drew (an orthogonal draw is
    kept), whose columns are also the first v's. W_0 stays. A pair is a rotation in the plane of its vectors; the fewer
    pairs, the smaller the set of W that can be reached. (The paper has no W_0.)

    Args:
        pairs: k / 2. (From H on the v's begin with the same columns again.)
    """

    pairs: Count

    orthogonal: ClassVar[bool] = True

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        origin = nearest_orthogonal(drawn)
        columns = torch.arange(self.pairs) % len(drawn)
        return {"vectors": origin.T[columns].repeat_interleave(2, dim=0)}, {"origin": origin}

    def weight(self, *, vectors: Tensor, origin: Tensor) -> Tensor:
        # The product of k reflections is I - V^T S^-1 V, S = striu(V V^T) + diag(|v|^2) / 2 (Joffrain et al. 2006).
        gram = vectors @ vectors.T
        S = gram.triu(1) + torch.diag(gram.diagonal() / 2)
        return origin - origin @ vectors.T @ torch.linalg.solve_triangular(S, vectors, upper=True)
