"""RMSprop (Hinton, lecture 6e, 2012)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, NonNegative, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class RMSprop(Optimiser):
    """v <- alpha v + (1 - alpha) g^2;  w <- w - lr g / (sqrt(v) + eps).

    Args:
        lr: learning rate, > 0.
        alpha: decay of the mean square, in [0, 1): 0.99 in torch, 0.9 in several papers.
        eps: added to the root, > 0.
        momentum: in [0, 1).
        centered: divide by the deviation instead of the root mean square.
        weight_decay: L2 penalty, >= 0.
        recurrent_lr_factor: the recurrent weights' learning rate is lr times this.
    """

    lr: Positive
    alpha: BelowOne
    eps: Positive
    momentum: BelowOne
    centered: bool
    weight_decay: NonNegative
    recurrent_lr_factor: NonNegative

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            groups,
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            weight_decay=self.weight_decay,
        )
