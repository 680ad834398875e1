"""Clipping by norm (Pascanu, Mikolov & Bengio 2013), each gate's block by a norm of its own."""

import torch
from torch import Tensor

from rnnlab.architectures.model import PARAMETRISED
from rnnlab.clipping.gradient_step import GradientStep, per_replica
from rnnlab.contract import Positive, component


@component
class BlockNormClipping:
    """g_k <- g_k max_norm / |g_k| for every block k of a replica's gradient that is longer than max_norm.

    A block is one gate's part of the cell's input weights, recurrent weights or biases, or of what a parametrisation
    makes its recurrent weights of, and else a whole parameter. So
    an exploding gate leaves the others their length; the gradient's direction changes. A replica counts as clipped when
    any block was.

    Args:
        max_norm: > 0, of each block.
    """

    max_norm: Positive

    def __call__(self, step: GradientStep) -> Tensor:
        clipped_R = torch.zeros_like(step.norm_R, dtype=torch.bool)
        for name in step.gradients:
            for block in blocks(step, name):
                norm_R = torch.linalg.vector_norm(block.flatten(1), dim=1, dtype=torch.float64)
                scale_R = torch.where(norm_R > self.max_norm, self.max_norm / norm_R, 1.0)
                block.mul_(per_replica(scale_R, block).to(block.dtype))
                clipped_R |= norm_R > self.max_norm
        return clipped_R


def blocks(step: GradientStep, name: str) -> list[Tensor]:
    """A parameter's gradient as views of its gate blocks, or as it is where it has none."""
    gradient, (owner, *rest) = step.gradients[name], name.split(".")
    if rest[:1] == [PARAMETRISED]:  # (R, N, ...)
        return list(gradient.unbind(1))
    cell = step.model.cells.get(owner)
    return [cell.block(gradient, block) for block in cell.blocks_of(gradient)] or [gradient] if cell else [gradient]
