"""Block rotations (Henaff, Szlam & LeCun 2016)."""

import math

import torch
from torch import Generator, Tensor

from rnnlab.contract import Share, component
from rnnlab.initialisers.square import ForSquareWeights


@component
class Henaff(ForSquareWeights):
    """An orthogonal matrix of 2x2 rotations on the diagonal, with angles from U(-spread pi, spread pi).

    A last odd unit keeps its value. Unlike a random orthogonal matrix, it mixes units only in pairs. Only for square
    blocks: recurrent weights.

    Args:
        spread: largest angle as a share of pi; 1 is the paper's.
    """

    spread: Share

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        n = weight_OI.shape[0]
        angle = torch.empty(n // 2, dtype=torch.float64)
        angle.uniform_(-self.spread * math.pi, self.spread * math.pi, generator=generator)
        even = torch.arange(0, 2 * (n // 2), 2)
        weight_OI.copy_(torch.eye(n))
        weight_OI[even, even] = weight_OI[even + 1, even + 1] = angle.cos().to(weight_OI.dtype)
        weight_OI[even + 1, even] = angle.sin().to(weight_OI.dtype)
        weight_OI[even, even + 1] = -angle.sin().to(weight_OI.dtype)
