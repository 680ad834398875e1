"""Annealed Gaussian noise on the gradient (Neelakantan et al. 2015)."""

import torch
from torch import Tensor

from rnnlab.contract import NonNegative, Positive, component
from rnnlab.streams import generator


@component
class AnnealedNoise:
    """g <- g + n with n ~ N(0, eta / (1 + t)^gamma) for every component, t = 0, 1, ... the updates before this one.

    It is added to the gradient as clipped, whichever the optimiser. A replica's noise is a function of its seed and the
    step alone.

    Args:
        eta: variance at the first update, > 0; the paper's are 0.01, 0.3 and 1.
        gamma: how fast it falls, >= 0; 0.55 is the paper's.
    """

    eta: Positive
    gamma: NonNegative

    def __call__(self, gradients: list[Tensor], seeds: list[int], step: int) -> None:
        """Add it in place.

        Args:
            gradients: one tensor (R, ...) per parameter.
            seeds: (R,) of the replicas.
            step: which update, 1-based.
        """
        try:
            deviation = (self.eta / step**self.gamma) ** 0.5
        except OverflowError:  # of a power beyond the largest float
            deviation = 0.0
        like, size = gradients[0], sum(g[0].numel() for g in gradients)
        for r, seed in enumerate(seeds):
            draw = generator(seed, "gradient_noise", step, like.device)
            noise = torch.randn(size, generator=draw, dtype=like.dtype, device=like.device)
            for gradient, part in zip(gradients, noise.split([g[0].numel() for g in gradients]), strict=True):
                gradient[r].add_(part.view(gradient.shape[1:]), alpha=deviation)
