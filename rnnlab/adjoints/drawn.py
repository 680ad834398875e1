"""What a rule that is drawn for every training step becomes in one of them.

T time, R replica, B batch, H hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.streams import generator


@dataclass(frozen=True)
class Weighted(AdjointRule):
    """What flows back from a step is multiplied by a factor of the step and replica, nothing at all where it is 0.

    factor_TR: by step and replica; component: the only one it is for, None for all.
    """

    factor_TR: Tensor
    component: str | None = None

    def carry(self, step: int, component: str, adjoint_RBH: Tensor) -> Tensor:
        if self.component not in (None, component):
            return adjoint_RBH
        factor_R11 = self.factor_TR[step].view(-1, 1, 1)
        return (adjoint_RBH * factor_R11).masked_fill(factor_R11 == 0, 0)  # also where it is not finite


def draw_factors(seeds: list[int], step: int, like: Tensor, one: Callable[[Generator], Tensor]) -> Tensor:
    """(T, R): each replica's factors by time step from its own generator of this training step."""
    return torch.stack([one(generator(seed, "adjoint", step)) for seed in seeds], dim=1).to(like)
