"""Adadelta (Zeiler 2012)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Adadelta(Optimiser):
    """v <- rho v + (1 - rho) g^2;  d = g sqrt(u + eps) / sqrt(v + eps);  u <- rho u + (1 - rho) d^2;  w <- w - lr d.

    Args:
        lr: factor of the step, > 0; the paper has none, which is 1.
        rho: decay of the two mean squares, in [0, 1).
        eps: added to them, > 0; it sets the length of the first steps.
    """

    rho: BelowOne
    eps: Positive

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adadelta(groups, rho=self.rho, eps=self.eps, **self.rate_and_decay)
