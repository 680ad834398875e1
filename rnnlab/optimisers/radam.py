"""Rectified Adam, RAdam (Liu et al. 2020)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class RAdam(Optimiser):
    """w <- w - lr r_t m / (sqrt(v) + eps) with Adam's bias-corrected m and v, where the variance of v is tractable,
    r_t = sqrt((p_t - 4)(p_t - 2) p / ((p - 4)(p - 2) p_t)) with p = 2 / (1 - beta2) - 1 and
    p_t = p - 2 t beta2^t / (1 - beta2^t). While p_t <= 5, at the first steps, w <- w - lr m.

    Args:
        beta1, beta2: decay of the means of g and g^2, in [0, 1).
        eps: added to the root, > 0.
    """

    beta1: BelowOne
    beta2: BelowOne
    eps: Positive

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.RAdam(groups, betas=(self.beta1, self.beta2), eps=self.eps, **self.rate_and_decay)
