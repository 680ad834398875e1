"""Recurrent weights, one per unit, that T steps cannot blow up (Li, Li, Cook, Zhu & Gao 2018)."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from rnnlab.contract import Count, Positive, component
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


class _Clamp(torch.autograd.Function):
    """min(max(u, -bound), bound); what lies outside can come back, as with the gradient of clamp it could not."""

    @staticmethod
    def forward(ctx: Any, free: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(free)
        ctx.bound = bound
        return free.clamp(-bound, bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (free,), (gradient,) = ctx.saved_tensors, gradients
        outward = (free.abs() > ctx.bound) & (gradient * free < 0)  # a descent step would lead further out
        return gradient.masked_fill(outward, 0), None


@component
class Bounded(Parametrisation):
    """u = clip(v, -b, b), b = gain^(1/T): u^T, what T steps do to a unit's memory and its gradient, is at most `gain`.

    v, (1, H), is trained. The gradient is that of u, but for a v beyond the bound that would go further: its is 0.
    A draw within the bound is kept.

    For a cell with one recurrent weight per unit (IndRNN).

    Args:
        gain: the largest u^T, > 0; the paper's is 2.
        steps: T, the task's.
    """

    gain: Positive
    steps: Count

    square: ClassVar[bool] = False

    @property
    def bound(self) -> float:
        return self.gain ** (1 / self.steps)

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        return {"free": drawn.clamp(-self.bound, self.bound)}, {}

    def weight(self, *, free: Tensor) -> Tensor:
        result: Any = _Clamp.apply(free, self.bound)
        return result
