"""Adagrad (Duchi, Hazan & Singer 2011)."""

from typing import Any

import torch

from rnnlab.contract import NonNegative, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Adagrad(Optimiser):
    """v <- v + g^2;  w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps).

    Args:
        lr_decay: of the learning rate over the updates t, >= 0.
        initial: where v starts, >= 0.
        eps: added to the root, > 0.
    """

    lr_decay: NonNegative
    initial: NonNegative
    eps: Positive

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            groups, lr_decay=self.lr_decay, initial_accumulator_value=self.initial, eps=self.eps, **self.rate_and_decay
        )
