"""Linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""

import math

from rnnlab.contract import CountOrZero, Share, component
from rnnlab.plan import Plan, Refusal


@component
class WarmupCosine:
    """Rises linearly over `warmup` steps to 1, then falls along half a cosine to `final_factor` at the last step."""

    warmup: CountOrZero
    final_factor: Share

    def why_not(self, plan: Plan) -> Refusal:
        if self.warmup >= plan.config.steps:
            return {"warmup": f"Below steps={plan.config.steps}, or the learning rate never gets there"}
        return None

    def factor(self, step: int, steps: int) -> float:
        """The factor on the learning rate of the step-th update (1-based) of `steps`."""
        if step <= self.warmup:
            return step / self.warmup
        progress = (step - self.warmup) / max(1, steps - self.warmup)
        return self.final_factor + (1 - self.final_factor) * 0.5 * (1 + math.cos(math.pi * progress))
