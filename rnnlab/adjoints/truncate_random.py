"""Truncated back-propagation through time with random lengths (Merity, Keskar & Socher 2017), within one sequence."""

import torch
from torch import Generator, Tensor

from rnnlab.adjoints.drawn import Weighted, draw_factors
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Count, NonNegative, Share, component
from rnnlab.plan import Plan, Refusal


@component
class TruncateRandom(AdjointRule):
    """Cut the adjoint between segments of n ~ N(m, spread^2) steps, m = every, or every / 2 with probability `halved`.

    n is rounded, and 1 at least. So no step lies next to a cut in every update. Lengths are drawn per replica, anew
    for every training step.

    Args:
        every: mean length of most segments, in time steps.
        spread: standard deviation of the lengths.
        halved: share of the segments whose mean is half of that.
    """

    every: Count
    spread: NonNegative
    halved: Share

    def why_not(self, plan: Plan) -> Refusal:
        if self.every >= plan.task.steps:
            return {"every": f"A sequence has {plan.task.steps} steps, so this would cut nothing"}
        return None

    def draw(self, seeds: list[int], step: int, steps: int, like: Tensor) -> Weighted:
        return Weighted(draw_factors(seeds, step, like, lambda generator: self._kept(steps, generator)))

    def _kept(self, steps: int, generator: Generator) -> Tensor:
        """(T,): 0 where a segment begins, else 1."""
        mean = torch.where(torch.rand(steps, generator=generator) < self.halved, self.every / 2, self.every)
        length = mean + self.spread * torch.randn(steps, generator=generator)
        begins = length.round().clamp(1, steps).long().cumsum(0)  # no longer: a spread may be huge
        kept = torch.ones(steps)
        kept[begins[begins < steps]] = 0
        return kept
