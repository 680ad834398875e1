"""Adagrad (Duchi, Hazan & Singer 2011)."""

from typing import Any

import torch

from rnnlab.contract import NonNegative, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Adagrad(Optimiser):
    """v <- v + g^2;  w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps).

    Args:
        lr: learning rate, > 0.
        lr_decay: of the learning rate over the updates t, >= 0.
        initial: where v starts, >= 0.
        eps: added to the root, > 0.
        weight_decay: L2 penalty added to the gradient, >= 0.
        recurrent_lr_factor: the recurrent weights' learning rate is lr times this.
    """

    lr: Positive
    lr_decay: NonNegative
    initial: NonNegative
    eps: Positive
    weight_decay: NonNegative
    recurrent_lr_factor: NonNegative

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(
            groups,
            lr=self.lr,
            lr_decay=self.lr_decay,
            initial_accumulator_value=self.initial,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
