"""No clipping."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep
from rnnlab.contract import component


@component
class NoClipping:
    """Leaves every gradient as it is."""

    def __call__(self, step: GradientStep) -> Tensor:
        return torch.zeros_like(step.norm_R, dtype=torch.bool)
