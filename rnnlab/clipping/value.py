"""Element-wise clipping, a threshold on every component (Mikolov 2012)."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep
from rnnlab.contract import Positive, component


@component
class ValueClipping:
    """g_i <- min(max(g_i, -max_value), max_value). A replica counts as clipped when any component was.

    Args:
        max_value: > 0.
    """

    max_value: Positive

    def __call__(self, step: GradientStep) -> Tensor:
        clipped_R = torch.zeros_like(step.norm_R, dtype=torch.bool)
        for gradient in step.gradients.values():
            clipped_R |= (gradient.abs() > self.max_value).flatten(1).any(1)
            gradient.clamp_(-self.max_value, self.max_value)
        return clipped_R
