"""Clipping by norm with a rule for gradients that cannot be trusted (Pascanu, Mikolov & Bengio 2013, their code)."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep, per_replica, shorten
from rnnlab.contract import NonNegative, Positive, component
from rnnlab.device import waits
from rnnlab.plan import Plan, Refusal


@component
class PascanuClipping:
    """g <- g max_norm / |g| where |g| > max_norm; but where |g| is not finite or above `largest`,
    g_W <- shrink W for recurrent weights W and g <- 0 for every other parameter.

    Such a step only shrinks W (and adds the gradient noise, where there is any), and the replica goes on instead of
    counting as diverged. (trainingRNNs/RNN.py, the clip style `rescale`, which is for gradient descent; an adaptive
    optimiser makes of shrink W a step of its own length.)

    Args:
        max_norm: > 0.
        largest: the largest |g| that is believed, > 0; 1e10 is the authors'.
        shrink: share of W that stands in for its gradient, >= 0; 0.02 is the authors'.
    """

    max_norm: Positive
    largest: Positive
    shrink: NonNegative

    def why_not(self, plan: Plan) -> Refusal:
        if plan.has("parametrisation"):
            return f"It shrinks recurrent weights; {plan.chosen('parametrisation')} makes them of others"
        if plan.cell.recurrent and not (plan.cell.square or plan.cell.multiplies):
            return f"It is for recurrent weights that can be shrunk, which those of {plan.chosen('cell')} are not"
        return None

    def __call__(self, step: GradientStep) -> Tensor:
        lost_R = ~(step.norm_R <= self.largest)  # so that NaN is lost
        clipped_R = shorten(step, self.max_norm)
        if waits(lost_R.device) or lost_R.any():
            self._replace(step, lost_R)
        return clipped_R | lost_R

    def _replace(self, step: GradientStep, lost_R: Tensor) -> None:
        for name, parameter in step.model.named_parameters():
            gradient = step.gradients[name]
            factor = self.shrink if name.endswith("weight_recurrent") else 0.0
            gradient.copy_(torch.where(per_replica(lost_R, gradient), factor * parameter.detach(), gradient))
        step.usable_R.logical_or_(lost_R)
