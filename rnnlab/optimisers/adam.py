"""Adam (Kingma & Ba 2015)."""

from typing import Any

import torch

from rnnlab.contract import BelowOne, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Adam(Optimiser):
    """m, v: decaying means of g and g^2, bias-corrected;  w <- w - lr m / (sqrt(v) + eps).

    Args:
        beta1, beta2: decay of the two means, in [0, 1).
        eps: added to the root, > 0.
        amsgrad: keep the largest v (Reddi et al. 2018).
    """

    beta1: BelowOne
    beta2: BelowOne
    eps: Positive
    amsgrad: bool

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            groups,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            amsgrad=self.amsgrad,
            **self.rate_and_decay,
            fused=True,  # one pass over each tensor; the default takes about ten, and 2.5 times as long
        )
