"""Steps to solve: against a textbook's table, scipy and closed forms; censoring, divergence, coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from rnnlab.report.statistics import wilson
from rnnlab.report.survival import kaplan_meier, restricted_mean

# Weeks in remission under 6-MP (Freireich et al. 1963), the example of most textbooks, with Greenwood's standard
# errors as R's survfit prints them.
REMISSION = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
RELAPSED = [True] * 9 + [False] * 12
TABLE = {6: (0.857, 0.0764), 7: (0.807, 0.0869), 10: (0.753, 0.0963), 13: (0.690, 0.1068), 16: (0.627, 0.1141)}
TABLE |= {22: (0.538, 0.1282), 23: (0.448, 0.1346)}


def test_the_textbook_example() -> None:
    curve = kaplan_meier(REMISSION, RELAPSED)
    for week, (share, error) in TABLE.items():
        k = curve.step.tolist().index(week)
        n = share * (1 - share) / error**2
        expected = wilson(share * n, n)
        assert curve.unsolved_share[k] == pytest.approx(share, abs=6e-4)
        assert (curve.low[k], curve.high[k]) == pytest.approx((expected.low, expected.high), abs=2e-3)
    assert curve.median == 23


def test_without_censoring_it_is_the_share_and_wilsons_interval() -> None:
    steps = np.array([30, 10, 10, 70, 50])
    curve = kaplan_meier(steps, np.ones(5, dtype=bool))
    assert curve.step.tolist() == [0, 10, 30, 50, 70]
    for k, step in enumerate(curve.step):
        unsolved = int((steps > step).sum())
        expected = wilson(unsolved, 5)
        assert curve.unsolved_share[k] == pytest.approx(unsolved / 5)
        assert (curve.low[k], curve.high[k]) == pytest.approx((expected.low, expected.high))


def test_an_unsolved_run_counts_until_it_ends() -> None:
    """By hand: 1 of 4 solved at 10; one leaves at 20; 1 of the 2 left solved at 30; the last leaves at 40."""
    curve = kaplan_meier([10, 20, 30, 40], [True, False, True, False])
    assert curve.unsolved_share.tolist() == pytest.approx([1, 3 / 4, 3 / 4, 3 / 8, 3 / 8])


def test_a_diverged_run_stays_unsolved_up_to_its_budget() -> None:
    """An arm whose slow seeds die early must not look as if they would have been solved like the others."""
    steps, solved, diverged = [100, 200, 5, 5], [True, True, False, False], [False, False, True, True]
    curve = kaplan_meier(steps, solved, diverged=diverged, budget=1000)
    assert curve.unsolved_share.tolist() == pytest.approx([1, 3 / 4, 1 / 2, 1 / 2])
    assert curve.step[-1] == 1000
    assert kaplan_meier(steps, solved).unsolved_share[-1] == 0, "censored where they diverged, all would be solved"


def test_median_only_where_half_are_solved() -> None:
    assert kaplan_meier([10, 20, 90, 90], [True, True, False, False]).median == 20
    assert kaplan_meier([10, 90, 90, 90], [True, False, False, False]).median is None
    rounded = kaplan_meier(np.arange(1, 25), np.arange(1, 25) != 15)
    assert rounded.unsolved_share[12] != 0.5, "23/24 * 22/23 * … * 12/13 in float64 is above one half"
    assert rounded.median == 12


def test_median_interval_says_when_it_knows_nothing() -> None:
    three = kaplan_meier([10, 20, 30], [True] * 3).median_interval
    assert (three.low, three.high) == (0, math.inf)
    many = kaplan_meier(np.arange(1, 101), np.ones(100, dtype=bool)).median_interval
    assert 35 < many.low < 50 < many.high < 65
    none = kaplan_meier([90] * 20, [False] * 20).median_interval
    assert (none.low, none.high) == (90, math.inf), "later than the last step"


def test_restricted_mean_is_the_mean_up_to_the_horizon() -> None:
    steps, solved = np.array([10, 40, 90, 100, 100]), np.array([True, True, True, False, False])
    for horizon in (5, 40, 60, 100):
        found = restricted_mean(kaplan_meier(steps, solved), horizon)
        assert found.value == pytest.approx(np.minimum(steps, horizon).mean())
        assert found.low <= found.value <= found.high <= horizon
    all_solved = restricted_mean(kaplan_meier([10, 20], [True, True]), 1000)
    assert all_solved.value == pytest.approx(15), "nobody is left to follow"
    none_solved = restricted_mean(kaplan_meier([100] * 3, [False] * 3), 100)
    assert (none_solved.value, none_solved.low) == pytest.approx((100, 100 * wilson(3, 3).low))


def test_order_does_not_matter_and_a_unit_of_time_scales_through() -> None:
    curve, horizon = kaplan_meier(REMISSION, RELAPSED), 30
    turned = kaplan_meier(REMISSION[::-1], RELAPSED[::-1])
    scaled = kaplan_meier(np.array(REMISSION) * 7, RELAPSED)
    for other, factor in ((turned, 1), (scaled, 7)):
        np.testing.assert_array_equal(other.step, factor * curve.step)
        np.testing.assert_array_equal(other.unsolved_share, curve.unsolved_share)
        np.testing.assert_array_equal((other.low, other.high), (curve.low, curve.high))
        assert restricted_mean(other, factor * horizon).value == pytest.approx(
            factor * restricted_mean(curve, horizon).value
        )


def test_the_curve_falls_inside_its_limits() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 8, 30):
        curve = kaplan_meier(rng.integers(0, 20, n), rng.random(n) < 0.6)
        assert curve.step[0] == 0
        assert (np.diff(curve.step) > 0).all()
        assert (np.diff(curve.unsolved_share) <= 0).all()
        assert (curve.low <= curve.unsolved_share).all()
        assert (curve.unsolved_share <= curve.high).all()
        assert (curve.low < curve.high).all(), "never without width"


def test_a_later_solution_never_lowers_the_curve() -> None:
    before = kaplan_meier([10, 20, 30, 40], [True] * 4)
    after = kaplan_meier([10, 35, 30, 40], [True] * 4)
    for step in (0, 10, 20, 30, 35, 40):
        assert _at(after.step, after.unsolved_share, step) >= _at(before.step, before.unsolved_share, step)


def test_intervals_cover_the_truth() -> None:
    """Exponential times, eight seeds, followed to step 1: above 90 %, eighths being coarse."""
    rng, rate, runs = np.random.default_rng(3), 1.0, 400
    truth = {"share": math.exp(-0.5), "mean": 1 - math.exp(-1), "median": math.log(2)}
    covered = dict.fromkeys(truth, 0)
    for _ in range(runs):
        needed = rng.exponential(1 / rate, 8)
        curve = kaplan_meier(np.minimum(needed, 1), needed <= 1)
        mean, median = restricted_mean(curve, 1), curve.median_interval
        covered["share"] += _at(curve.step, curve.low, 0.5) <= truth["share"] <= _at(curve.step, curve.high, 0.5)
        covered["mean"] += mean.low <= truth["mean"] <= mean.high
        covered["median"] += median.low <= truth["median"] <= median.high
    assert min(covered.values()) > 0.9 * runs, covered


def test_the_share_is_that_of_scipy_under_random_censoring() -> None:
    rng = np.random.default_rng(5)
    steps, solved = rng.integers(1, 30, 40), rng.random(40) < 0.5
    curve = kaplan_meier(steps, solved)
    expected = stats.ecdf(stats.CensoredData.right_censored(steps, ~solved)).sf
    np.testing.assert_allclose(
        [_at(curve.step, curve.unsolved_share, s) for s in range(31)], expected.evaluate(range(31))
    )


def test_refusals() -> None:
    for steps, solved, options, told in (
        ([], [], {}, "one value at least"),
        ([1, 2], [True], {}, "one entry per run"),
        ([1, math.inf], [True, False], {}, "finite"),
        ([-1], [True], {}, "finite"),
        ([1], [True], {"diverged": [True], "budget": 9}, "both solved and diverged"),
        ([1], [False], {"diverged": [True]}, "no budget"),
    ):
        with pytest.raises(ValueError, match=told):
            kaplan_meier(steps, solved, **options)
    curve = kaplan_meier([5, 9], [True, False])
    for horizon in (0, -1, math.inf, 10):
        with pytest.raises(ValueError, match="horizon"):
            restricted_mean(curve, horizon)


def _at(steps: np.ndarray, values: np.ndarray, step: float) -> float:
    return float(values[np.searchsorted(steps, step, side="right") - 1])
