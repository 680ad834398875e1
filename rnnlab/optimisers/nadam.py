"""Adam with Nesterov's momentum, NAdam (Dozat 2016)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, NonNegative, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class NAdam(Optimiser):
    """w <- w - lr (mu_{t+1} m / (1 - M_{t+1}) + (1 - mu_t) g / (1 - M_t)) / (sqrt(v) + eps), m and v as in Adam,
    v bias-corrected, mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) and M_t = mu_1 mu_2 ... mu_t.

    Args:
        beta1, beta2: decay of the means of g and g^2, in [0, 1).
        eps: added to the root, > 0.
        momentum_decay: how fast mu_t grows to beta1, >= 0.
    """

    beta1: BelowOne
    beta2: BelowOne
    eps: Positive
    momentum_decay: NonNegative

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _NAdam(
            groups,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            momentum_decay=self.momentum_decay,
            **self.rate_and_decay,
        )


class _NAdam(torch.optim.NAdam):
    """Torch's, which loads M_t into the parameters' type and device, and would go on from it with other last bits."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["mu_product"] = state["mu_product"].to("cpu", torch.get_default_dtype())
