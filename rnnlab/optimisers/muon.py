"""Muon (Jordan et al. 2024): momentum, orthogonalised. For recurrent weights; AdamW for the rest."""

from typing import Any

import torch
from torch import Tensor

from rnnlab.contract import BelowOne, Positive, Repeats, component
from rnnlab.optimisers.optimiser import Optimiser
from rnnlab.plan import Plan, Refusal

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Jordan's quintic: it brings singular values from anywhere in (0, 1] to about 0.7 to 1.2 in five iterations."""


@component
class Muon(Optimiser):
    """m <- momentum m + (1 - momentum) g;  w <- w - lr rms sqrt(H) O(m), for gate blocks (H, H) of recurrent weights,
    O(m) about U V' where m = U S V' (Newton-Schulz: x <- a x + b x x' x + c (x x')^2 x from m / |m|).

    So every direction moves alike. With `nesterov`, of (1 - momentum) g + momentum m. The step's root mean square is
    about lr rms, whatever H, beside which AdamW's is about lr (Liu et al. 2025): one lr serves both. Torch's own
    orthogonalises stacked gates as one matrix, and in bfloat16; this one block by block, in the run's dtype. As there,
    an |m| below 1e-7 counts as 1e-7: a gradient that has vanished moves less.

    Args:
        momentum: in [0, 1).
        nesterov: look ahead along the momentum.
        iterations: of Newton-Schulz, at most 1000.
        rms: root mean square of a step in units of lr, > 0.
        beta1, beta2, eps: AdamW's, for every parameter that is not recurrent weights.
        weight_decay: decoupled decay of all parameters, >= 0.
    """

    momentum: BelowOne
    nesterov: bool
    iterations: Repeats
    rms: Positive
    beta1: BelowOne
    beta2: BelowOne
    eps: Positive

    def why_not(self, plan: Plan) -> Refusal:
        if plan.has("parametrisation"):
            return f"Its step is one for recurrent matrices; {plan.chosen('parametrisation')} makes them of others"
        if not plan.cell.square or plan.cell.hidden < 2:
            return f"It is for square blocks of at least 2 units; {plan.chosen('cell')} has none here"
        return super().why_not(plan)

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Muon(groups, self)


class _Muon(torch.optim.AdamW):
    """AdamW, which leaves out what has no gradient: the recurrent matrices have had their step by then."""

    def __init__(self, groups: list[dict[str, Any]], rule: Muon) -> None:
        super().__init__(groups, betas=(rule.beta1, rule.beta2), eps=rule.eps, **rule.rate_and_decay, fused=True)
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for weight in group["params"] if group["recurrent"] else []:
                if weight.grad is not None and _square(weight):
                    gradient, weight.grad = weight.grad, None
                    self._update(weight, gradient, group["lr"], self.state[weight])
        super().step()

    def _update(self, weight: Tensor, gradient: Tensor, lr: float, state: dict[str, Any]) -> None:
        rule = self.rule
        if not state:
            # AdamW looks for the step in every state that it loads.
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(gradient)}
        state["step"] += 1
        mean = state["momentum"].lerp_(gradient, 1 - rule.momentum)
        ahead = gradient.lerp(mean, rule.momentum) if rule.nesterov else mean
        H = weight.shape[0]
        blocks_NHH = ahead.unflatten(1, (-1, H)).transpose(0, 1)
        update = orthogonalised(blocks_NHH, rule.iterations).transpose(0, 1).flatten(1)
        weight.mul_(1 - lr * rule.weight_decay)
        weight.sub_(update, alpha=lr * rule.rms * H**0.5)


def _square(weight: Tensor) -> bool:
    """Whether a leaf consists of square blocks side by side."""
    return weight.dim() == 2 and weight.shape[0] > 1 and weight.shape[1] % weight.shape[0] == 0


def orthogonalised(matrix_NHH: Tensor, iterations: int) -> Tensor:
    """About U V' of each matrix U S V': Newton-Schulz with Jordan's coefficients; zero where the matrix is zero."""
    a, b, c = COEFFICIENTS
    x = matrix_NHH / torch.linalg.matrix_norm(matrix_NHH, keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
