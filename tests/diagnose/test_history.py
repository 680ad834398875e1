"""What the lines of a run say of clipping and bursts."""

import math

import pytest

from rnnlab.diagnose.history import histories, history


def lines(norms, fractions=None, every=10):
    fractions = fractions or [0.0] * len(norms)
    return [
        {"step": (k + 1) * every, "seed": 0, "split": "train", "loss": 1.0, "grad_norm": n, "clip_fraction": f}
        for k, (n, f) in enumerate(zip(norms, fractions, strict=True))
    ]


def test_a_line_s_clip_fraction_counts_for_the_updates_since_the_line_before():
    rows = lines([1.0, 1.0], [1.0, 0.0])
    rows[0]["step"] = 1
    rows[1]["step"] = 10
    assert history(rows).clipped == pytest.approx(0.1)


def test_a_burst_is_told_against_what_was_before_and_a_slow_fall_is_none():
    steady = [1.0] * 20
    assert history(lines(steady)).burst == 1
    found = history(lines([*steady, 500.0, *steady]))
    assert (found.burst, found.burst_at) == (500, 210)
    assert history(lines([0.9**k for k in range(100)])).burst < 1
    assert math.isnan(history(lines([1.0, 500.0])).burst), "too few lines to know what is usual"


def test_a_seed_s_last_norm_is_the_last_that_was_finite():
    assert history(lines([1.0, 2.0, None])).last_norm == 2
    assert math.isnan(history(lines([None])).last_norm)
    assert math.isnan(history([]).clipped)


def test_lines_of_other_seeds_do_not_count():
    found = histories([*lines([1.0, 3.0], [1.0, 1.0]), {**lines([9.0])[0], "seed": 1}], [0, 1, 2])
    assert (found[0].grad_norm, found[0].clipped) == (2, 1)
    assert found[1].grad_norm == 9
    assert math.isnan(found[2].grad_norm)


def test_norms_as_large_as_a_float_can_be_are_no_warning():
    found = history(lines([1e308] * 30))
    assert found.burst != found.burst or found.burst <= 1
