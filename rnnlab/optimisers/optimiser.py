"""What an optimiser is: its hyper-parameters, and how torch's is made from them."""

from typing import Any, Protocol

import torch


class Optimiser(Protocol):
    """Makes a torch optimiser from parameter groups."""

    @property
    def lr(self) -> float: ...
    @property
    def recurrent_lr_factor(self) -> float: ...

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Over parameter groups that have their own `lr` each; see rnnlab.training.population."""
        ...
