"""What a clipping rule is given, and what rules share.

R replica.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.device import waits


@dataclass(frozen=True)
class GradientStep:
    """The gradients of one training step, between the backward pass and the update.

    model: with the parameters from before the update.
    gradients: of each replica's mean loss by parameter name, (R, ...); a rule changes them in place.
    norm_R: each replica's norm over all of them, float64.
    usable_R: bool, whether loss and gradient are finite, so that the replica may be updated. A rule that puts something
        finite in a gradient's place says so here, in place.
    memory: tensors (R, ...) by name, empty at the first step. What a rule puts in is there at the next step, follows
        the replicas when one of them ends, and is in the checkpoints.
    """

    model: Model
    gradients: dict[str, Tensor]
    norm_R: Tensor
    usable_R: Tensor
    memory: dict[str, Tensor]


class Clipping(Protocol):
    """Changes the gradients of every replica by itself. Never waits for a device: a decision is a selection."""

    def __call__(self, step: GradientStep) -> Tensor:
        """Clip in place; (R,) bool, which replicas were clipped."""
        ...


def per_replica(value_R: Tensor, gradient: Tensor) -> Tensor:
    """A number of each replica in a form that multiplies its gradient (R, ...)."""
    return value_R.view(-1, *[1] * (gradient.dim() - 1))


def shorten(step: GradientStep, max_norm: float | Tensor) -> Tensor:
    """g <- g max_norm / |g| for every replica whose gradient, over all its parameters, is longer than max_norm.

    Args:
        max_norm: a number for all, or (R,) float64.
    Returns:
        (R,) bool: which were longer.
    """
    clipped_R = step.norm_R > max_norm
    scale_R = torch.where(clipped_R, max_norm / step.norm_R, 1.0)
    # Looking mostly spares the work; a factor of 1 changes nothing.
    for gradient in step.gradients.values() if waits(clipped_R.device) or clipped_R.any() else []:
        gradient.mul_(per_replica(scale_R, gradient).to(gradient.dtype))
    return clipped_R


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """(R,) float64: each replica's norm over all its parameters, squares in float64."""
    norms = [torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
