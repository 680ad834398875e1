"""What an adjoint rule is. How gradients flow back through time is an object that an engine consults.

T time, R replica, B batch, H hidden.
"""

from typing import ClassVar

import torch
from torch import Tensor


class AdjointRule:
    """Changes the adjoint of a state, dL_b/dh_t for every example b, on its way back. As it stands, it changes nothing.

    A rule overrides the methods that it needs; an engine leaves out those that it does not.
    """

    needs_direct: ClassVar[bool] = False
    """Whether `meet` reads `direct_RB1`, which is zero where no rule does."""

    def draw(self, seeds: list[int], step: int, steps: int, like: Tensor) -> "AdjointRule":
        """The rule of one training step, each replica's part from a generator of its own.

        Args:
            seeds: (R,), the replicas; step: which update, 1-based; steps: T.
            like: a tensor of the dtype and on the device that the adjoints have.
        """
        return self

    def cuts(self, step: int) -> bool:
        """Whether nothing flows back from time step `step` (0-based) into the state before it."""
        return False

    def meet(self, adjoint_RBH: Tensor, direct_RB1: Tensor) -> Tensor:
        """The adjoint that travels on, given the total adjoint of one state component at one step.

        Args:
            direct_RB1: float64, the greatest norm of a direct part dL_b/dh_k with all later steps held fixed, over the
                steps k from this one on.
        """
        return adjoint_RBH

    def carry(self, step: int, component: str, adjoint_RBH: Tensor) -> Tensor:
        """What arrives at a state component (by its name) before time step `step`, given what would."""
        return adjoint_RBH

    @property
    def draws(self) -> bool:
        """Whether it is another rule for every training step."""
        return type(self).draw is not AdjointRule.draw

    @property
    def meets(self) -> bool:
        """Whether it acts on the adjoint that arrives at a step."""
        return type(self).meet is not AdjointRule.meet

    @property
    def carries(self) -> bool:
        """Whether it acts on what flows back from a step into the state before."""
        return type(self).carry is not AdjointRule.carry


def larger_norm(direct_RB1: Tensor, direct_RBH: Tensor) -> Tensor:
    """The greater of a norm and that of a direct part, per example."""
    norm_RB1 = torch.linalg.vector_norm(direct_RBH, dim=-1, keepdim=True, dtype=torch.float64)
    return torch.maximum(direct_RB1, norm_RB1)
