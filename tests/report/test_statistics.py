"""A share and an interquartile mean: against scipy and closed forms, and the laws of their intervals."""

import itertools
import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from rnnlab.report import statistics
from rnnlab.report.statistics import iqm, wilson


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_wilson_is_that_of_scipy() -> None:
    for n in (1, 2, 3, 8, 50):
        for k in range(n + 1):
            expected = stats.binomtest(k, n).proportion_ci(method="wilson")
            found = wilson(k, n)
            assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_at_three_of_three() -> None:
    """Closed form: low = n / (n + z^2)."""
    assert wilson(3, 3).low == pytest.approx(3 / (3 + 1.959963984540054**2))
    assert wilson(3, 3).high == 1


def test_wilson_holds_the_share_mirrors_and_grows_with_it() -> None:
    for n in (1, 3, 7, 29, 2.5):
        intervals = [wilson(share * n, n) for share in np.linspace(0, 1, 30)]
        for share, interval, mirrored in zip(np.linspace(0, 1, 30), intervals, intervals[::-1], strict=True):
            assert 0 <= interval.low <= share + 1e-15
            assert share - 1e-15 <= interval.high <= 1
            assert interval.low == pytest.approx(1 - mirrored.high)
        assert all(a.low < b.low and a.high < b.high for a, b in itertools.pairwise(intervals[1:-1]))


@pytest.mark.parametrize("n", [3, 8, 20])
def test_wilson_covers_the_share_in_nineteen_cases_of_twenty(n: int) -> None:
    """Exact coverage, by summing the binomial, on average over shares."""
    intervals = [wilson(k, n) for k in range(n + 1)]
    shares = np.linspace(0.01, 0.99, 99)
    covered = [sum(stats.binom.pmf(k, n, p) for k, i in enumerate(intervals) if i.low <= p <= i.high) for p in shares]
    assert 0.94 < np.mean(covered) < 0.97


def test_wilson_refuses_what_is_no_share() -> None:
    for successes, n in ((1, 0), (4, 3), (-1, 3), (math.nan, 3)):
        with pytest.raises(ValueError, match="successes"):
            wilson(successes, n)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert iqm([9, 1, 3, 100, 4, 2, 5, -50], rng()).value == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([1, 2, 6], rng()).value == pytest.approx(3), "below four values nothing is cut"


def test_iqm_interval_is_the_bootstrap_of_every_resample() -> None:
    """Brute force: all 4^4 resamples of four values, each as probable."""
    values = np.array([1.0, 2.0, 4.0, 8.0])
    exact = [stats.trim_mean(values[list(chosen)], 0.25) for chosen in itertools.product(range(4), repeat=4)]
    low, high = np.quantile(exact, [0.025, 0.975], method="inverted_cdf")
    found = iqm(values, rng())
    assert (found.low, found.high) == (low, high)


def test_iqm_holds_its_value_and_moves_with_scale_shift_and_every_value() -> None:
    for seed in range(20):
        values = rng(seed).standard_cauchy(size=2 + seed % 9)
        found, moved = iqm(values, rng()), iqm(3 * values + 7, rng())
        assert found.low <= found.value <= found.high
        assert iqm(values[::-1], rng()).value == pytest.approx(found.value)
        assert (moved.value, moved.low, moved.high) == pytest.approx(
            (3 * found.value + 7, 3 * found.low + 7, 3 * found.high + 7)
        )
        for k in range(len(values)):
            assert iqm(values + 5.0 * (np.arange(len(values)) == k), rng()).value >= found.value - 1e-12


def test_iqm_of_few_or_equal_values() -> None:
    one = iqm([2.0], rng())
    assert (one.value, one.low, one.high) == (2, -math.inf, math.inf), "one seed bounds nothing"
    for values in ([1.0, 3.0], [1.0, 2.0, 9.0]):
        found = iqm(values, rng())
        assert (found.low, found.high) == (min(values), max(values))
    constant = iqm([4.0] * 5, rng())
    assert (constant.value, constant.low, constant.high) == (4, 4, 4)


def test_iqm_resamples_inside_strata() -> None:
    """Two tasks of different scale: that a resample always has three of each removes the difference between them."""
    values, task = [1.0, 1.1, 1.2, 9.0, 9.1, 9.2], ["copy"] * 3 + ["adding"] * 3
    assert iqm(values, rng(), task).high - iqm(values, rng(), task).low < 0.5
    assert iqm(values, rng()).high - iqm(values, rng()).low > 3
    apart = iqm([1.0, 9.0], rng(), ["copy", "adding"])
    assert (apart.low, apart.high) == (-math.inf, math.inf), "a stratum of one value says nothing about its spread"


def test_iqm_counts_diverged_seeds_as_what_it_is_told() -> None:
    diverged = [1.0, 2.0, 3.0, math.nan]
    assert iqm(diverged, rng(), worst=math.inf).value == 2.5, "a quarter is cut at either end"
    assert iqm(diverged, rng(), worst=math.inf).high == math.inf
    assert iqm([1.0, math.nan, math.nan], rng(), worst=math.inf).value == math.inf
    assert iqm([0.9, math.nan], rng(), worst=0.0).value == pytest.approx(0.45)


def test_iqm_refuses_what_it_cannot_mean() -> None:
    for values, options, told in (
        ([], {}, "one value at least"),
        ([[1.0, 2.0]], {}, "one axis"),
        ([1.0, math.nan], {}, "worst"),
        ([math.inf, -math.inf], {}, "both inf and -inf"),
        ([1.0, 2.0], {"strata": ["a"]}, "one label per value"),
    ):
        with pytest.raises(ValueError, match=told):
            iqm(values, rng(), **options)


def test_iqm_follows_its_generator() -> None:
    values = rng().normal(size=12)
    assert iqm(values, rng(1)) == iqm(values, rng(1))
    assert iqm(values, rng(1)).low != iqm(values, rng(2)).low


def test_iqm_of_many_values_is_drawn_in_pieces(monkeypatch) -> None:
    """With the same result, and without room for all resamples."""
    values = np.random.default_rng(3).normal(size=500)
    whole = iqm(values, np.random.default_rng(0))
    monkeypatch.setattr(statistics, "AT_ONCE", 2**16)
    tracemalloc.start()
    assert iqm(values, np.random.default_rng(0)) == whole
    assert tracemalloc.get_traced_memory()[1] < 8 * statistics.RESAMPLES * len(values) / 8
    tracemalloc.stop()


def test_no_torch_is_imported() -> None:
    modules = ", ".join(f"rnnlab.report.{name}" for name in ("statistics", "survival", "pairs", "ranking"))
    program = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
