"""No clipping."""

import torch
from torch import Tensor

from rnnlab.contract import component


@component
class NoClipping:
    """Leaves every gradient as it is."""

    def __call__(self, gradients: list[Tensor], norm_R: Tensor) -> Tensor:
        return torch.zeros_like(norm_R, dtype=torch.bool)
