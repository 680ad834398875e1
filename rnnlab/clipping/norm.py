"""Clipping by norm (Pascanu, Mikolov & Bengio 2013)."""

from torch import Tensor

from rnnlab.contract import Positive, component
from rnnlab.device import waits


@component
class NormClipping:
    """g <- g * max_norm / |g| for every replica whose gradient, over all its parameters, is longer than max_norm."""

    max_norm: Positive

    def __call__(self, gradients: list[Tensor], norm_R: Tensor) -> Tensor:
        """Clip in place.

        Args:
            gradients: one tensor (R, ...) per parameter.
            norm_R: each replica's norm over all of them, float64.
        Returns:
            (R,) bool: which replicas were clipped.
        """
        scale_R = (self.max_norm / norm_R).clamp(max=1.0)
        clipped_R = norm_R > self.max_norm
        # Looking mostly spares the work; a factor of 1 changes nothing.
        for gradient in gradients if waits(norm_R.device) or clipped_R.any() else []:
            gradient.mul_(scale_R.to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1)))
        return clipped_R
