"""Factors on the learning rate: bounded, continuous, and where they should be at the ends."""

import itertools
import math

import pytest
from support import component


def factors(option: str, steps: int, **changes: object) -> list[float]:
    """Of the updates 1, ..., steps."""
    made = component("schedule", option, **changes)
    return [made.factor(step, steps) for step in range(1, steps + 1)]


@pytest.mark.technique("schedule=constant")
def test_constant_is_one() -> None:
    assert factors("constant", 50) == [1.0] * 50


@pytest.mark.technique("schedule=warmup_cosine")
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("steps", "warmup"), [(1000, 100), (50, 1), (50, 0), (50, 49)])
def test_warm_up_is_linear_then_the_cosine_falls_to_its_final_factor(steps: int, warmup: int, final: float) -> None:
    values = factors("warmup_cosine", steps, warmup=warmup, final_factor=final)
    rise, fall = values[:warmup], values[warmup:]
    assert rise == [pytest.approx(step / warmup) for step in range(1, warmup + 1)]
    assert values[-1] == pytest.approx(final, abs=1e-12)
    assert all(later <= earlier for earlier, later in itertools.pairwise([1.0, *fall]))
    largest_step = (1 - final) * math.pi / 2 / (steps - warmup)
    assert all(earlier - later <= largest_step + 1e-12 for earlier, later in itertools.pairwise([1.0, *fall]))
    middle = fall[len(fall) // 2 - 1] if len(fall) % 2 == 0 else None
    assert middle is None or middle == pytest.approx((1 + final) / 2), "half-way down at half the time"


def test_the_first_update_of_a_warm_up_already_moves() -> None:
    assert factors("warmup_cosine", 10, warmup=5)[0] == pytest.approx(0.2)
