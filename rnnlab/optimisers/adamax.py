"""Adamax (Kingma & Ba 2015): Adam with the infinity norm."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Adamax(Optimiser):
    """m <- beta1 m + (1 - beta1) g;  u <- max(beta2 u, |g| + eps);  w <- w - lr / (1 - beta1^t) m / u.

    Args:
        beta1, beta2: decay of mean and maximum, in [0, 1).
        eps: added to |g|, > 0.
    """

    beta1: BelowOne
    beta2: BelowOne
    eps: Positive

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adamax(groups, betas=(self.beta1, self.beta2), eps=self.eps, **self.rate_and_decay)
