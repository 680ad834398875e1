"""Block the gradient through h and leave the path through c (h-detach, Kanuparthi et al. 2019)."""

import torch
from torch import Tensor

from rnnlab.adjoints.drawn import Weighted, draw_factors
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import PositiveShare, component
from rnnlab.plan import Plan, Refusal


@component
class HDetach(AdjointRule):
    """At every step, with probability `share`: nothing flows back from the gates into h_{t-1}; dL/dc passes as it is.

    What is left with share = 1 is the linear path c_t = f c_{t-1} + ..., along which the gradient is multiplied by f
    alone. One draw per replica and time step, anew for every training step. For cells with the states h and c.

    Args:
        share: the paper's p, above 0 and at most 1.
    """

    share: PositiveShare

    def why_not(self, plan: Plan) -> Refusal:
        if plan.cell.states != ("h", "c"):
            return f"It cuts the path through h and keeps that through c; {plan.chosen('cell')} has no two such paths"
        if plan.option("dropout") == "zoneout":
            return "It cuts every path into h, and a unit that dropout=zoneout keeps has no other for its gradient"
        return None

    def draw(self, seeds: list[int], step: int, steps: int, like: Tensor) -> Weighted:
        factor_TR = draw_factors(seeds, step, like, lambda g: torch.rand(steps, generator=g) >= self.share)
        return Weighted(factor_TR, component="h")
