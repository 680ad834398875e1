"""Clipping by norm (Pascanu, Mikolov & Bengio 2013)."""

from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep, shorten
from rnnlab.contract import Positive, component


@component
class NormClipping:
    """g <- g max_norm / |g| for every replica whose gradient, over all its parameters, is longer than max_norm.

    Args:
        max_norm: > 0.
    """

    max_norm: Positive

    def __call__(self, step: GradientStep) -> Tensor:
        return shorten(step, self.max_norm)
