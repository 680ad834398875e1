"""Two arms beside each other: the probability that one is better, and what remains of many p-values. No torch."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from rnnlab.report.statistics import Estimate, Z, one_axis

EXACT_UP_TO = 100
"""Seeds of both arms together up to which the p-value is exact; beyond, normal, and the two agree."""


@dataclass(frozen=True)
class Improvement(Estimate):
    """P(a seed of arm a beats one of arm b), its interval, and the p-value of no difference between the arms."""

    p_value: float

    def reversed(self) -> "Improvement":
        """The comparison of b with a."""
        return Improvement(1 - self.value, 1 - self.high, 1 - self.low, self.p_value)


def probability_of_improvement(a: ArrayLike, b: ArrayLike, *, lower_is_better: bool) -> Improvement:
    """How probable it is that a seed of `a` is better than a seed of `b`, a tie counting one half.

    Only the order counts, so inf serves as the steps of a seed that never solved its task. A NaN, the outcome of a
    diverged seed, is as bad as the worst infinity.

    Args:
        a, b: (N,), (M,) one value per seed; the arms count as independent samples.
        lower_is_better: true for losses and steps to solve, false for accuracies.
    Returns:
        The estimate U/NM with Newcombe's score interval (his method 5), which keeps its width where one arm is wholly
        above the other; there a bootstrap would give [1, 1]. p_value is two-sided, from the permutation distribution
        of U with its ties, exact up to EXACT_UP_TO seeds: at most 2 / binomial(N+M, N) where the arms do not overlap.
    Mann & Whitney 1947; Newcombe 2006, Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, part 2; as a measure for arms with few seeds, Agarwal et al. 2021.
    """
    better = np.concatenate([_goodness(one_axis("probability_of_improvement", x), lower_is_better) for x in (a, b)])
    n, m = np.size(a), np.size(b)
    rank = stats.rankdata(better)
    value = float((rank[:n].sum() - n * (n + 1) / 2) / (n * m))
    return Improvement(value, *_score_interval(value, n, m), p_value=_p_value(rank, n))


def seeds_to_tell_apart(pairs: int, level: float = 0.05) -> int:
    """How many seeds both arms of a pair need, at least, to be told apart among so many pairs (after Holm).

    With fewer, no outcome whatever gives a corrected p-value up to `level`: 4 for one pair, 5 for 3 pairs (three
    arms), 6 for 15.
    """
    return next(n for n in range(1, 100) if 2 * pairs / math.comb(2 * n, n) <= level)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values corrected for their number, in the order given: the chance of one false alarm among all stays below.

    Raises:
        ValueError: one is not from 0 to 1.
    Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"holm: {p_values}; p-values from 0 to 1 are needed, on one axis.")
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _goodness(values: NDArray[np.float64], lower_is_better: bool) -> NDArray[np.float64]:
    return np.where(np.isnan(values), -np.inf, -values if lower_is_better else values)


def _score_interval(value: float, n: int, m: int) -> tuple[float, float]:
    """The probabilities p whose own standard error reaches to the estimate: |value - p| <= Z se(p)."""

    def excess(p: float) -> float:
        """Positive outside of the interval; the variance is Hanley & McNeil's with both arms of their mean size."""
        others = (n + m) / 2 - 1
        variance = p * (1 - p) * (1 + others * ((1 - p) / (2 - p) + p / (1 + p))) / (n * m)
        return abs(value - p) - Z * math.sqrt(variance)

    def root(between: float, end: float) -> float:
        return cast(float, optimize.brentq(excess, between, end))

    tiny = 1e-12  # p = value = 0 or 1 is a root of its own, and not the one that is meant
    return (
        0.0 if value == 0 else root(0.0, min(value, 1 - tiny)),
        1.0 if value == 1 else root(max(value, tiny), 1.0),
    )


def _p_value(rank: NDArray[np.float64], n: int) -> float:
    """Two-sided p-value of the rank sum of the first n, every choice of n among all being as probable."""
    if len(rank) > EXACT_UP_TO:
        return float(stats.mannwhitneyu(rank[:n], rank[n:], method="asymptotic").pvalue)
    doubled = np.rint(2 * rank).astype(int)  # ranks of ties are halves
    probability = _rank_sum_distribution(doubled, n)
    observed = doubled[:n].sum()
    return min(1.0, 2 * float(min(probability[: observed + 1].sum(), probability[observed:].sum())))


def _rank_sum_distribution(rank: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Probability of every sum 0, 1, … of n of these whole numbers (the shift algorithm: Streitberg & Roehmel 1986)."""
    ways = np.zeros((n + 1, rank.sum() + 1))
    ways[0, 0] = 1
    for r in rank:  # ways[k, s]: choices of k of the ranks so far whose sum is s
        ways[1:, r:] += ways[:-1, : -int(r)]
    return ways[n] / math.comb(len(rank), n)
