"""Recurrent weights with singular values in a band around 1 (Vorontsov, Trabelsi, Kadoury & Pal 2017)."""

import torch
from torch import Tensor

from rnnlab.contract import OpenShare, component
from rnnlab.parametrisations.matrices import skew
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts

INSIDE = 1e-3
"""How near to the band's ends a singular value may begin, as a share of its width; the ends are at p = -inf, inf."""


@component
class AlmostOrthogonal(Parametrisation):
    """W = U diag(s) V^T, s_i = 1 + radius (2 sigma(p_i) - 1): all singular values stay within 1 -+ radius.

    Trained are p and, below the diagonal, A and B of U = U_0 exp(A) and V^T = exp(B) V_0^T, from 0. U_0 and V_0 are
    those of the draw's singular value decomposition and stay. Singular values of the draw that lie outside the band are
    moved into it; a draw within it is kept.

    Args:
        radius: half the band's width, between 0 and 1. (0 would be orthogonal.)
    """

    radius: OpenShare

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        left, values, right = torch.linalg.svd(drawn)
        place = ((values - 1) / self.radius + 1) / 2
        none = drawn.new_zeros(len(drawn) * (len(drawn) - 1) // 2)
        trained = {"values": place.clamp(INSIDE, 1 - INSIDE).logit(), "left": none, "right": none.clone()}
        return trained, {"left_origin": left, "right_origin": right}

    def weight(
        self, *, values: Tensor, left: Tensor, right: Tensor, left_origin: Tensor, right_origin: Tensor
    ) -> Tensor:
        U = left_origin @ torch.linalg.matrix_exp(skew(left))
        V = torch.linalg.matrix_exp(skew(right)) @ right_origin
        return U * (1 + self.radius * (2 * torch.sigmoid(values) - 1)) @ V
