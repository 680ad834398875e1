"""Adafactor (Shazeer & Stern 2018): a factored mean square, and steps relative to the size of the weights."""

from typing import Any

import torch
from torch import Tensor

from rnnlab.contract import Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Adafactor(Optimiser):
    """v_ij = r_i c_j / mean(r) with r, c decaying means of g^2 + eps1 over each row and column;  u = g / sqrt(v);
    w <- w - max(eps2, rms(w)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / clip).

    The means keep 1 - t^-decay of themselves, so that none needs a bias correction. As in the paper there is no
    momentum. Torch's own asks a device for two numbers per parameter and step; this one for none.

    Args:
        lr: the largest relative step, > 0.
        decay: > 0; 0.8 is the paper's.
        eps1: added to g^2, > 0.
        eps2: the least that rms(w) counts as, > 0.
        clip: the largest rms(u), > 0.
        weight_decay: decoupled decay, w <- w - lr weight_decay w, >= 0.
        recurrent_lr_factor: the recurrent weights' steps are this times as large; likewise a schedule's factor.
    """

    decay: Positive
    eps1: Positive
    eps2: Positive
    clip: Positive

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Adafactor(groups, self)


class _Adafactor(torch.optim.Optimizer):
    def __init__(self, groups: list[dict[str, Any]], rule: Adafactor) -> None:
        super().__init__(groups, {})
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, torch.atleast_2d(weight.grad), group["lr"], self.state[weight])

    def _update(self, weight: Tensor, gradient: Tensor, lr: float, state: dict[str, Any]) -> None:
        rule = self.rule
        state["step"] = t = state.get("step", 0) + 1
        square = gradient.square() + rule.eps1
        for name, mean in (("row", square.mean(-1, keepdim=True)), ("column", square.mean(-2, keepdim=True))):
            state[name] = torch.lerp(state.get(name, mean), mean, t**-rule.decay)
        update = gradient * (state["row"] / state["row"].mean() * state["column"]).rsqrt()
        step = min(rule.lr, t**-0.5) * (lr / rule.lr)  # what lr has been multiplied by stays outside the bound
        length = _rms(weight).clamp(min=rule.eps2) * step / (_rms(update) / rule.clip).clamp(min=1.0)
        weight.mul_(1 - lr * rule.weight_decay)
        weight.sub_((length * update).view_as(weight))


def _rms(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values) / values.numel() ** 0.5
