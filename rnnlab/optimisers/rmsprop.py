"""RMSprop (Hinton, lecture 6e, 2012)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class RMSprop(Optimiser):
    """v <- alpha v + (1 - alpha) g^2;  w <- w - lr g / (sqrt(v) + eps).

    Args:
        alpha: decay of the mean square, in [0, 1): 0.99 in torch, 0.9 in several papers.
        eps: added to the root, > 0.
        momentum: in [0, 1).
        centered: divide by the deviation instead of the root mean square.
    """

    alpha: BelowOne
    eps: Positive
    momentum: BelowOne
    centered: bool

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(
            groups,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            centered=self.centered,
            **self.rate_and_decay,
        )
