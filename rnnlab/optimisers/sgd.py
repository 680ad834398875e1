"""Stochastic gradient descent."""

from typing import Any

import torch

from rnnlab.contract import NonNegative, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class SGD(Optimiser):
    """w <- w - lr (g + weight_decay w).

    Args:
        lr: learning rate, > 0.
        weight_decay: L2 penalty, >= 0.
        recurrent_lr_factor: the recurrent weights' learning rate is lr times this.
    """

    lr: Positive
    weight_decay: NonNegative
    recurrent_lr_factor: NonNegative

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=self.lr, weight_decay=self.weight_decay)
