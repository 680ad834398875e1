"""What an adjoint rule is. How gradients flow back through time is an object that an engine consults.

T time, R replica, B batch, H hidden.
"""

from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class AdjointRule(Protocol):
    """Changes the adjoint of a state, dL_b/dh_t for every example b, as the backward pass meets it."""

    acts: ClassVar[bool]
    """Whether `apply` (or `compare`) changes anything; an engine leaves it out where it does not."""

    def apply(self, adjoint_RBH: Tensor) -> Tensor:
        """The adjoint that travels on, given the total adjoint of one state component at one step."""
        ...

    def cuts(self, step: int) -> bool:
        """Whether nothing flows back from time step `step` (0-based) into the state before it."""
        ...


@runtime_checkable
class Carries(AdjointRule, Protocol):
    """A rule that also changes what flows back from a time step into the state before it."""

    def carry(self, step: int, component: str, adjoint_RBH: Tensor) -> Tensor:
        """What arrives at a state component (by its name) before time step `step`, given what would."""
        ...


@runtime_checkable
class Compares(AdjointRule, Protocol):
    """A rule that looks at the loss's direct derivatives too; it has `compare` act in place of `apply`."""

    def compare(self, adjoint_RBH: Tensor, direct_RB1: Tensor) -> Tensor:
        """As `apply`; `direct_RB1`, float64: the greatest norm of a direct part dL_b/dh_k with all later steps held
        fixed, over the steps k from this one on."""
        ...


@runtime_checkable
class Draws(AdjointRule, Protocol):
    """A rule that is drawn anew for every training step, each replica's part from a generator of its own."""

    def draw(self, seeds: list[int], step: int, steps: int, like: Tensor) -> AdjointRule:
        """The rule of one training step.

        Args:
            seeds: (R,), the replicas; step: which update, 1-based; steps: T.
            like: a tensor of the dtype and on the device that the adjoints have.
        """
        ...


def of_step(rule: AdjointRule, seeds: list[int], step: int, input_TRBI: Tensor) -> AdjointRule:
    """The rule that a training step with these inputs goes by."""
    return rule.draw(seeds, step, len(input_TRBI), input_TRBI) if isinstance(rule, Draws) else rule


def meet(rule: AdjointRule, adjoint_RBH: Tensor, direct_RB1: Tensor) -> Tensor:
    """What travels on of an adjoint that arrives at a step."""
    return rule.compare(adjoint_RBH, direct_RB1) if isinstance(rule, Compares) else rule.apply(adjoint_RBH)


def greatest(direct_RB1: Tensor, direct_RBH: Tensor) -> Tensor:
    """The greater of a norm and that of a direct part, per example."""
    norm_RB1 = torch.linalg.vector_norm(direct_RBH, dim=-1, keepdim=True, dtype=torch.float64)
    return torch.maximum(direct_RB1, norm_RB1)
