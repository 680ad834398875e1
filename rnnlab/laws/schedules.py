"""Laws of schedules."""

import math

import torch
from torch import Tensor

from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, law
from rnnlab.laws.subject import Subject


@observed("schedule")
def _factors(subject: Subject) -> list[Tensor]:
    made = subject.make()
    return [torch.tensor([made.factor(step, 1000) for step in range(1, 1001)])]


@law("schedule")
def a_factor_lies_between_zero_and_one_for_every_step(subject: Subject) -> None:
    for steps in (1, 2, 150, 1000):
        factors = [subject.make().factor(step, steps) for step in range(1, steps + 1)]
        for step, factor in enumerate(factors, start=1):
            good = isinstance(factor, float) and math.isfinite(factor) and 0 <= factor <= 1
            hold(good, f"{factor!r} at step {step} of {steps}")
