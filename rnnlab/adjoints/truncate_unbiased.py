"""Randomly truncated back-propagation through time without bias (Tallec & Ollivier 2017), within one sequence."""

import torch
from torch import Tensor

from rnnlab.adjoints.drawn import Weighted, draw_factors
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import OpenShare, component


@component
class TruncateUnbiased(AdjointRule):
    """At every step, with probability `share`, nothing flows back; else it is multiplied by 1 / (1 - share).

    The expected gradient is that of full back-propagation, which fixed truncation misses by everything that lies across
    a cut; the price is variance, growing as (1 - share)^-k over k steps. One draw per replica and time step, anew for
    every training step. (The paper allows a share that varies over the steps.)

    Args:
        share: the paper's c, between 0 and 1; segments last 1 / share steps on average.
    """

    share: OpenShare

    def draw(self, seeds: list[int], step: int, steps: int, like: Tensor) -> Weighted:
        kept = draw_factors(seeds, step, like, lambda g: torch.rand(steps, generator=g) >= self.share)
        return Weighted(kept / (1 - self.share))
