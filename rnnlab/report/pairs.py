"""Two arms beside each other: the probability that one is better, and what remains of many p-values. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
    better_a, better_b = (goodness(one_axis("probability_of_improvement", x), lower_is_better) for x in (a, b))
    (value,), (p_value,) = _against(better_a, better_b[None])
    return improvement(value, p_value, np.size(a), np.size(b))


def improvement(value: float, p_value: float, n: int, m: int) -> Improvement:
    """An estimate U/NM and its p-value, of n seeds beside m, with the interval."""
    return Improvement(float(value), *_score_interval(float(value), n, m), p_value=float(p_value))


def all_pairs(arms: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate and p-value of `probability_of_improvement` for every pair of A arms, without the intervals.

    Args:
        arms: (N,) `goodness` per seed, of each arm.
    Returns:
        probability_AA, that a seed of the row's arm beats one of the column's (0.5 on the diagonal); p_value_AA (1).
    """
    size_A = np.array([len(arm) for arm in arms])
    probability_AA, p_value_AA = np.full((len(arms), len(arms)), 0.5), np.ones((len(arms), len(arms)))
    for size in np.unique(size_A):  # arms of one size are ranked all at once
        place = np.flatnonzero(size_A == size)
        stacked = np.stack([arms[k] for k in place.tolist()])
        for k, arm in enumerate(arms):
            probability_AA[k, place], p_value_AA[k, place] = _against(arm, stacked)
    np.fill_diagonal(probability_AA, 0.5)
    np.fill_diagonal(p_value_AA, 1.0)
    return probability_AA, p_value_AA


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


def goodness(values: NDArray[np.float64], lower_is_better: bool) -> NDArray[np.float64]:
    """The values so that higher is better, and NaN as bad as the worst infinity."""
    return np.where(np.isnan(values), -np.inf, -values if lower_is_better else values)


def _against(a: NDArray[np.float64], b_PM: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """U/NM and p-value (P,) of arm a (N,) beside each of P arms of M seeds."""
    n, m = len(a), b_PM.shape[1]
    rank_PN = stats.rankdata(np.concatenate([np.broadcast_to(a, (len(b_PM), n)), b_PM], axis=1), axis=1)
    return (rank_PN[:, :n].sum(axis=1) - n * (n + 1) / 2) / (n * m), _p_values(rank_PN, n)


@lru_cache(maxsize=4096)  # few seeds allow few values
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


def _p_values(rank_PN: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Two-sided p-values of the rank sums of the first n, every choice of n among all being as probable."""
    if rank_PN.shape[1] > EXACT_UP_TO:
        return stats.mannwhitneyu(rank_PN[:, :n], rank_PN[:, n:], axis=1, method="asymptotic").pvalue
    doubled_PN = np.rint(2 * rank_PN).astype(np.uint8)  # ranks of ties are halves
    rows: dict[bytes, list[int]] = {}
    for row, ranks in enumerate(np.sort(doubled_PN, axis=1)):
        rows.setdefault(ranks.tobytes(), []).append(row)
    p_value = np.empty(len(rank_PN))
    observed = doubled_PN[:, :n].sum(axis=1, dtype=int)
    for ranks, same in rows.items():
        p_value[same] = _p_of_sum(ranks, n)[observed[same]]
    return p_value


@lru_cache(maxsize=4096)  # pairs of few seeds have few patterns of ties
def _p_of_sum(ranks: bytes, n: int) -> NDArray[np.float64]:
    """The p-value of every sum 0, 1, … of n of these whole numbers."""
    probability = _rank_sum_distribution(np.frombuffer(ranks, dtype=np.uint8).astype(int), n)
    below, above = np.cumsum(probability), np.cumsum(probability[::-1])[::-1]
    return np.minimum(1.0, 2 * np.minimum(below, above))


def _rank_sum_distribution(rank: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Probability of every sum 0, 1, … of n of these whole numbers (the shift algorithm: Streitberg & Roehmel 1986)."""
    ways = np.zeros((n + 1, rank.sum() + 1))
    ways[0, 0] = 1
    for r in rank:  # ways[k, s]: choices of k of the ranks so far whose sum is s
        ways[1:, r:] += ways[:-1, : -int(r)]
    return ways[n] / math.comb(len(rank), n)
