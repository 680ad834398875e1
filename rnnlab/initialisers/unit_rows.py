"""Rows of one length (Muller 1959)."""

import torch
from torch import Generator, Tensor

from rnnlab.contract import Positive, component


@component
class UnitRows:
    """w_i = norm g_i / |g_i| for every unit i, with g_i Gaussian: uniform on a sphere.

    Each unit gets as much input as every other, whatever their number. For weights of any shape; the rows are those of
    torch's form (out, in).

    Args:
        norm: length of each unit's weight vector, > 0.
    """

    norm: Positive

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        drawn = torch.randn(weight_OI.shape, dtype=torch.float64, generator=generator)
        weight_OI.copy_(self.norm * torch.nn.functional.normalize(drawn, dim=1))
