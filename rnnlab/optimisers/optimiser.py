"""What an optimiser is: its hyper-parameters, and how torch's is made from them."""

from abc import abstractmethod
from typing import Any

import torch

from rnnlab.plan import Plan, Refusal


class Optimiser:
    """Makes a torch optimiser from parameter groups. It has an `lr`, and a factor on that for recurrent weights."""

    lr: float
    recurrent_lr_factor: float

    def why_not(self, plan: Plan) -> Refusal:
        if self.recurrent_lr_factor != 1 and not plan.cell.recurrent:
            return {"recurrent_lr_factor": f"{plan.chosen('cell')} has no recurrent weights; allowed: 1"}
        return None

    @abstractmethod
    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Over parameter groups that have their own `lr` each; see rnnlab.training.population."""
        raise NotImplementedError
