"""Adaptive gradient clipping, AGC (Brock, De, Smith & Simonyan 2021)."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep
from rnnlab.contract import Positive, component
from rnnlab.plan import Plan, Refusal


@component
class AdaptiveClipping:
    """g_i <- g_i bound / |g_i| where |g_i| > bound = ratio max(|w_i|, eps), for every unit i with incoming weights w_i.

    So no update is long beside the weights that it changes. As in the authors' code, a vector (a bias) is one unit. A
    replica counts as clipped when any unit was.

    Args:
        ratio: lambda, the largest |g_i| / |w_i|, > 0.
        eps: the least that |w_i| counts as, so that weights of zero can grow, > 0.
        readout: whether the readout is clipped too; the paper leaves the last layer alone.
    """

    ratio: Positive
    eps: Positive
    readout: bool

    def why_not(self, plan: Plan) -> Refusal:
        if plan.has("parametrisation"):
            return f"It takes columns for units, which those of {plan.chosen('parametrisation')} are not"
        if plan.cell.recurrent and not plan.cell.multiplies:
            return f"It is for weights that units are reached by, which those of {plan.chosen('cell')} are not"
        return None

    def __call__(self, step: GradientStep) -> Tensor:
        clipped_R = torch.zeros_like(step.norm_R, dtype=torch.bool)
        for name, parameter in step.model.named_parameters():
            if name.endswith("_output") and not self.readout:
                continue
            gradient = step.gradients[name]
            matrix = name.rpartition(".")[2].startswith("weight")
            bound = self.ratio * unit_norm(parameter.detach(), matrix).clamp(min=self.eps)
            norm = unit_norm(gradient, matrix)
            gradient.mul_(torch.where(norm > bound, bound / norm, 1.0).to(gradient.dtype))
            clipped_R |= (norm > bound).flatten(1).any(1)
        return clipped_R


def unit_norm(values: Tensor, matrix: bool) -> Tensor:
    """(R, 1, out) float64, the norm of each unit's incoming weights (R, in, out); of a vector (R, 1, n), (R, 1, 1)."""
    if not matrix:
        return torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=torch.float64)
    # Along contiguous memory, so that a replica's sums do not depend on the others.
    return torch.linalg.vector_norm(values.mT.contiguous(), dim=-1, dtype=torch.float64).unsqueeze(1)
