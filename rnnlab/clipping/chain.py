"""Clipping rules one after the other."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep, gradient_norm
from rnnlab.contract import Members, component
from rnnlab.plan import Plan, Refusal, why_not


@component
class Chain:
    """g <- rule_n(... rule_2(rule_1(g))): each rule sees what the one before has left, and the norm of that.

    A replica counts as clipped when any rule clipped it. On the command line `clipping=[agc,norm]`; a rule's keys are
    `clipping.rules.agc.ratio` and so on.

    Args:
        rules: by name, in the order in which they act.
    """

    rules: Members

    def why_not(self, plan: Plan) -> Refusal:
        for name, rule in self.rules.items():
            if why := why_not(rule, plan, plan.key):
                reasons = why if isinstance(why, dict) else {"": why}
                return {f"rules.{name}{f'.{key}' if key else ''}": reason for key, reason in reasons.items()}
        return None

    def __call__(self, step: GradientStep) -> Tensor:
        clipped_R = torch.zeros_like(step.usable_R)
        for i, (name, rule) in enumerate(self.rules.items()):
            norm_R = gradient_norm([*step.gradients.values()]) if i else step.norm_R
            begin = f"{name}."
            own = {key.removeprefix(begin): kept for key, kept in step.memory.items() if key.startswith(begin)}
            clipped_R |= rule(GradientStep(step.model, step.gradients, norm_R, step.usable_R, own))
            step.memory.update({f"{begin}{key}": kept for key, kept in own.items()})
        return clipped_R
