"""The logistic sigmoid as a cell's nonlinearity."""

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.contract import component


class _Sigmoid(torch.autograd.Function):
    """sigma(a) from kernels whose result for an element does not depend on where it lies in memory.

    torch.sigmoid computes the last few elements of a contiguous CPU tensor with another formula than the rest, so a
    replica would differ in the last bit between a population and a solo run. (On a slice whose rows are not
    contiguous, as the cells' gates are, every row is treated alike and torch.sigmoid serves.)
    """

    @staticmethod
    def forward(ctx: Any, preactivation: Tensor) -> Tensor:
        result = preactivation.neg().exp_().add_(1).reciprocal_()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return gradients[0] * (result * (1 - result))


def sigmoid(preactivation: Tensor) -> Tensor:
    """1 / (1 + exp(-a)) of a tensor of any shape and layout, each element from itself alone to the last bit."""
    result: Any = _Sigmoid.apply(preactivation)
    return result


@component
class Sigmoid(nn.Module):
    """phi(a) = 1 / (1 + exp(-a)), of any shape; phi' <= 1/4."""

    def forward(self, preactivation: Tensor) -> Tensor:
        return sigmoid(preactivation)
