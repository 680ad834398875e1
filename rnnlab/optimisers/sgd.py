"""Stochastic gradient descent."""

from typing import Any

import torch

from rnnlab.contract import component
from rnnlab.optimisers.optimiser import Optimiser


@component
class SGD(Optimiser):
    """w <- w - lr (g + weight_decay w)."""

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, **self.rate_and_decay)
