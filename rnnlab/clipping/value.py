"""Element-wise clipping, a threshold on every component (Mikolov 2012)."""

import torch
from torch import Tensor

from rnnlab.contract import Positive, component


@component
class ValueClipping:
    """g_i <- min(max(g_i, -max_value), max_value)."""

    max_value: Positive

    def __call__(self, gradients: list[Tensor], norm_R: Tensor) -> Tensor:
        """Clip in place; see NormClipping. A replica counts as clipped when any component was."""
        clipped_R = torch.zeros_like(norm_R, dtype=torch.bool)
        for gradient in gradients:
            clipped_R |= gradient.abs().flatten(1).amax(1) > self.max_value
            gradient.clamp_(-self.max_value, self.max_value)
        return clipped_R
