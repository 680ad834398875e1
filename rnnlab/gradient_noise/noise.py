"""What gradient noise is.

R replica.
"""

from typing import Protocol

from torch import Tensor


class GradientNoise(Protocol):
    """Added to the clipped gradients of every replica, before the update."""

    def __call__(self, gradients: list[Tensor], seeds: list[int], step: int) -> None:
        """Add it in place.

        Args:
            gradients: one tensor (R, ...) per parameter.
            seeds: (R,) of the replicas.
            step: which update, 1-based.
        """
        ...
