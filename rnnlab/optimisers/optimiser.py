"""What an optimiser is: its hyper-parameters, and how torch's is made from them."""

from abc import ABC, abstractmethod
from typing import Any

import torch

from rnnlab.contract import NonNegative, Positive, fields
from rnnlab.plan import Plan, Refusal


@fields
class Optimiser(ABC):
    """Makes a torch optimiser from parameter groups; what every optimiser has.

    Args:
        lr: learning rate, > 0.
        weight_decay: L2 penalty, added to the gradient, >= 0.
        recurrent_lr_factor: the recurrent weights' learning rate is lr times this.
    """

    lr: Positive
    weight_decay: NonNegative
    recurrent_lr_factor: NonNegative

    def why_not(self, plan: Plan) -> Refusal:
        if self.recurrent_lr_factor != 1 and not plan.cell.recurrent:
            return {"recurrent_lr_factor": f"{plan.chosen('cell')} has no recurrent weights; allowed: 1"}
        return None

    @abstractmethod
    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Over parameter groups that have their own `lr` each; see rnnlab.training.population."""

    @property
    def rate_and_decay(self) -> dict[str, Any]:
        """As torch's optimisers call them."""
        return {"lr": self.lr, "weight_decay": self.weight_decay}
