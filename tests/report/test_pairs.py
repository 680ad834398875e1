"""Two arms: the statistic, its exact p-value against enumeration and scipy, its interval, Holm's correction."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rnnlab.report.pairs import (
    EXACT_UP_TO,
    all_pairs,
    goodness,
    holm,
    probability_of_improvement,
    seeds_to_tell_apart,
)

Z = 1.959963984540054


def test_it_is_the_share_of_pairs_won() -> None:
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (2, 5), (4, 3), (7, 7)):
        a, b = rng.integers(0, 6, n), rng.integers(0, 6, m)
        won = np.mean([1.0 * (x < y) + 0.5 * (x == y) for x in a for y in b])
        assert probability_of_improvement(a, b, lower_is_better=True).value == pytest.approx(won)
        assert probability_of_improvement(a, b, lower_is_better=False).value == pytest.approx(1 - won)


def test_p_value_is_that_of_every_relabelling() -> None:
    """Brute force: every choice of which seeds are arm a; ties, infinities and arms of one seed included."""
    rng = np.random.default_rng(1)
    for n, m in ((1, 1), (1, 4), (2, 3), (3, 3), (4, 3), (4, 5)):
        values = np.where(rng.random(n + m) < 0.2, math.inf, rng.integers(0, 6, n + m))
        rank = stats.rankdata(values)
        sums = np.array([rank[list(chosen)].sum() for chosen in itertools.combinations(range(n + m), n)])
        observed = rank[:n].sum()
        expected = min(1, 2 * min(np.mean(sums <= observed), np.mean(sums >= observed)))
        for lower in (True, False):
            found = probability_of_improvement(values[:n], values[n:], lower_is_better=lower)
            assert found.p_value == pytest.approx(expected, abs=1e-12)


def test_p_value_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    for n, m in ((5, 5), (8, 8), (30, 12)):
        a, b = rng.normal(size=n), rng.normal(loc=0.8, size=m)
        found = probability_of_improvement(a, b, lower_is_better=True)
        assert found.p_value == pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue)
        assert found.value == pytest.approx(1 - stats.mannwhitneyu(a, b).statistic / (n * m))


def test_beyond_the_exact_range_nothing_jumps() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=EXACT_UP_TO // 2), rng.normal(loc=0.6, size=EXACT_UP_TO // 2)
    exact = probability_of_improvement(a, b, lower_is_better=True).p_value
    normal = probability_of_improvement(a, np.append(b, np.median(b)), lower_is_better=True).p_value
    assert 0 < exact < 0.1
    assert normal == pytest.approx(exact, rel=0.15)


def test_interval_ends_where_the_standard_error_reaches_to_the_estimate() -> None:
    """With Hanley & McNeil's variance as they write it, for arms of one size."""

    def error(p: float, n: int) -> float:
        q1, q2 = p / (2 - p), 2 * p**2 / (1 + p)
        return math.sqrt((p * (1 - p) + (n - 1) * (q1 - p**2) + (n - 1) * (q2 - p**2)) / n**2)

    for a, b in (([1, 2, 5], [3, 4, 6]), ([1, 2, 3, 9], [3, 4, 5, 6]), ([1, 2, 3], [4, 5, 6])):
        found = probability_of_improvement(a, b, lower_is_better=True)
        assert found.value - found.low == pytest.approx(Z * error(found.low, len(a)))
        if found.value < 1:
            assert found.high - found.value == pytest.approx(Z * error(found.high, len(a)))


def test_arms_that_do_not_overlap_keep_an_interval_with_a_width() -> None:
    for n in (1, 2, 3, 5, 20):
        found = probability_of_improvement(np.arange(n), np.arange(n) + n, lower_is_better=True)
        assert (found.value, found.high) == (1, 1)
        assert 0.2 < found.low < 0.9
        assert found.p_value == pytest.approx(min(1, 2 / math.comb(2 * n, n)))


def test_exchanging_arms_or_direction_mirrors() -> None:
    rng = np.random.default_rng(4)
    for n, m in ((1, 3), (3, 3), (5, 8)):
        a, b = rng.integers(0, 9, n), rng.integers(2, 11, m)
        found = probability_of_improvement(a, b, lower_is_better=True)
        for other in (
            probability_of_improvement(b, a, lower_is_better=True),
            probability_of_improvement(a, b, lower_is_better=False),
        ):
            assert other.value == pytest.approx(1 - found.value)
            assert (other.low, other.high) == pytest.approx((1 - found.high, 1 - found.low))
            assert other.p_value == pytest.approx(found.p_value)


def test_only_the_order_counts() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=6), rng.normal(size=5)
    found = probability_of_improvement(a, b, lower_is_better=True)
    assert probability_of_improvement(np.exp(3 * a), np.exp(3 * b), lower_is_better=True) == found
    assert probability_of_improvement(a[::-1], rng.permutation(b), lower_is_better=True) == found
    better = probability_of_improvement(a - 1, b, lower_is_better=True)
    assert better.value >= found.value
    assert better.low >= found.low
    assert better.high >= found.high


def test_interval_holds_the_value() -> None:
    for wins in range(10):
        a = [0.0, 0.0, 0.0]
        b = [1.0 if k < wins else -1.0 for k in range(9)]
        found = probability_of_improvement(a, b, lower_is_better=True)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.value == pytest.approx(wins / 9)


def test_unsolved_and_diverged_seeds_are_worst_and_tie() -> None:
    some, none = [100.0, math.inf, math.inf], [math.inf, math.nan, math.nan]
    found = probability_of_improvement(some, none, lower_is_better=True)
    assert found.value == pytest.approx((3 + 0.5 * 6) / 9)
    accuracy = probability_of_improvement([0.1, 0.2], [math.nan, math.nan], lower_is_better=False)
    assert accuracy.value == 1
    same = probability_of_improvement(none, none, lower_is_better=True)
    assert (same.value, same.p_value) == (0.5, 1)


def test_interval_covers_and_p_value_keeps_its_level() -> None:
    """Two normal arms of five seeds, one standard deviation apart, and not apart."""
    rng, runs = np.random.default_rng(6), 400
    for shift in (0.0, 1.0):
        truth = float(stats.norm.cdf(shift / math.sqrt(2)))
        found = [
            probability_of_improvement(rng.normal(size=5), rng.normal(loc=shift, size=5), lower_is_better=True)
            for _ in range(runs)
        ]
        assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.92
        if shift == 0:
            assert np.mean([f.p_value <= 0.05 for f in found]) <= 0.06


def test_how_many_seeds_can_tell_arms_apart() -> None:
    for pairs in (1, 3, 6, 45):
        n = seeds_to_tell_apart(pairs)
        p = probability_of_improvement(np.arange(n), np.arange(n) + n, lower_is_better=True).p_value
        fewer = probability_of_improvement(np.arange(n - 1), np.arange(n - 1) + n, lower_is_better=True).p_value
        assert holm([p] * pairs)[0] <= 0.05 < holm([fewer] * pairs)[0]
    assert [seeds_to_tell_apart(pairs) for pairs in (1, 3, 10)] == [4, 5, 6]


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """Brute force: p_i adjusted is the largest Bonferroni p-value of all sets of hypotheses that i is in."""
    rng = np.random.default_rng(7)
    for n in (1, 2, 3, 5, 7):
        p = np.round(rng.random(n) ** 2, 2)
        sets = [s for size in range(1, n + 1) for s in itertools.combinations(range(n), size)]
        expected = [min(1, max(len(s) * min(p[list(s)]) for s in sets if k in s)) for k in range(n)]
        np.testing.assert_allclose(holm(p), expected)


def test_holm_keeps_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_refusals() -> None:
    for p in ([0.5, 1.1], [-0.1], [math.nan], [[0.1]]):
        with pytest.raises(ValueError, match="from 0 to 1"):
            holm(p)
    with pytest.raises(ValueError, match="one value at least"):
        probability_of_improvement([], [1.0], lower_is_better=True)


def test_all_pairs_are_the_pairs_one_by_one():
    """Of several sizes, with ties, infinities and diverged seeds, and beyond the exact distribution."""
    rng = np.random.default_rng(0)
    sizes = [3, 5, 3, 1, 8, 60, 60]
    arms = [rng.integers(0, 9, n).astype(float) for n in sizes]
    arms[1][:2], arms[2][0] = math.nan, -math.inf
    arms = [goodness(arm, lower_is_better=False) for arm in arms]
    probability_AA, p_value_AA = all_pairs(arms)
    for (i, a), (j, b) in itertools.permutations(enumerate(arms), 2):
        found = probability_of_improvement(a, b, lower_is_better=False)
        assert probability_AA[i, j] == pytest.approx(found.value, abs=1e-12)
        assert p_value_AA[i, j] == pytest.approx(found.p_value, abs=1e-12)
    assert (np.diag(probability_AA) == 0.5).all()
    assert (np.diag(p_value_AA) == 1).all()
