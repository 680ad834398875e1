"""Gradient descent with momentum (Polyak 1964; Nesterov 1983)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, component
from rnnlab.optimisers.optimiser import Optimiser
from rnnlab.plan import Plan, Refusal


@component
class Momentum(Optimiser):
    """v <- momentum v + (1 - dampening) g;  w <- w - lr v.  At the first step v <- g, as torch has it.

    Args:
        momentum: share of the velocity kept, in [0, 1).
        dampening: share of the gradient left out, in [0, 1); 0 with Nesterov's form.
        nesterov: look ahead along the velocity.
    """

    momentum: BelowOne
    dampening: BelowOne
    nesterov: bool

    def why_not(self, plan: Plan) -> Refusal:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            return {"nesterov": "Nesterov's form needs optimiser.momentum above 0 and optimiser.dampening=0"}
        return super().why_not(plan)

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            groups,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
            **self.rate_and_decay,
        )
