"""Several arms: an order, and which of them cannot be told apart. Imports no torch."""

import itertools
import string
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnlab.report.pairs import Improvement, all_pairs, goodness, holm, improvement
from rnnlab.report.statistics import one_axis


@dataclass(frozen=True)
class Ranking:
    """The order of arms and what supports it.

    Attributes:
        order: names, best first.
        score: per arm, the mean probability that one of its seeds beats one of another arm; the order is by it.
        groups: each a list of names, best first, no two of which were told apart; none is part of another. To be told
            apart is to have a Holm-corrected p-value up to the level. That is no equivalence: a and b may be in one
            group, b and c in another, and a and c in none, because b lies between them. Nor does one group mean that
            the arms are equal; with few seeds it mostly means that the seeds are few.
        letters: per arm, one letter per group that it is in: two arms were told apart just when they share no letter.
        places: per arm, its first and last rank that the pairs do not exclude: every arm that was told apart from it
            takes a place before or behind it.
        pairs: (a, b), a before b in the order, both among the first that are told pair by pair: a beside b.
        adjusted: (a, b): its p-value after Holm's correction over all pairs, also those not told.
    """

    order: list[str]
    score: dict[str, float]
    groups: list[list[str]]
    letters: dict[str, str]
    places: dict[str, tuple[int, int]]
    pairs: dict[tuple[str, str], Improvement]
    adjusted: dict[tuple[str, str], float]


def rank(
    arms: Mapping[str, ArrayLike], *, lower_is_better: bool, level: float = 0.05, told: int | None = None
) -> Ranking:
    """Order the arms and find out which of them cannot be told apart.

    Args:
        arms: name and one value per seed; see probability_of_improvement for inf and NaN.
        level: the chance of telling any two arms apart that do not differ.
        told: arms from the first whose pairs are told one by one; None: all. All pairs are compared in any case.
    Raises:
        ValueError: no arms, or one without values.
    Compact letter display: Piepho 2004, An algorithm for a letter-based representation of all-pairwise comparisons.
    """
    if not arms:
        raise ValueError("rank: no arms.")
    names = sorted(arms)
    values = [goodness(one_axis("rank", arms[name]), lower_is_better) for name in names]
    probability_AA, p_value_AA = all_pairs(values)
    mean_A = (probability_AA.sum(axis=1) - 0.5) / (len(names) - 1) if len(names) > 1 else np.array([0.5])
    best = np.argsort(-mean_A.round(12), kind="stable")  # a sum's last bit must not decide between ties
    order, seeds = [names[k] for k in best], [len(values[k]) for k in best]
    probability_AA, p_value_AA = probability_AA[np.ix_(best, best)], p_value_AA[np.ix_(best, best)]
    adjusted_AA = _corrected(p_value_AA)
    listed = list(itertools.combinations(range(len(order))[:told], 2))
    groups = [[order[k] for k in group] for group in _groups(adjusted_AA <= level)]
    return Ranking(
        order=order,
        score=dict(zip(order, map(float, mean_A[best]), strict=True)),
        groups=groups,
        letters={name: "".join(_letter(k) for k, group in enumerate(groups) if name in group) for name in order},
        places=dict(zip(order, _places(adjusted_AA <= level), strict=True)),
        pairs={
            (order[a], order[b]): improvement(probability_AA[a, b], p_value_AA[a, b], seeds[a], seeds[b])
            for a, b in listed
        },
        adjusted={(order[a], order[b]): float(adjusted_AA[a, b]) for a, b in listed},
    )


def _corrected(p_value_AA: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's correction over the pairs above the diagonal; 1 elsewhere."""
    above = np.triu_indices(len(p_value_AA), 1)
    adjusted_AA = np.ones_like(p_value_AA)
    adjusted_AA[above] = holm(p_value_AA[above])
    return adjusted_AA


def _places(apart_AA: NDArray[np.bool_]) -> list[tuple[int, int]]:
    before, behind = apart_AA.sum(axis=0), apart_AA.sum(axis=1)  # false below the diagonal
    return [(1 + int(n), len(apart_AA) - int(m)) for n, m in zip(before, behind, strict=True)]


def _groups(apart_AA: NDArray[np.bool_]) -> list[list[int]]:
    """The largest sets without a pair that was told apart, those with better arms first (insert and absorb).

    apart_AA is false below the diagonal. A set of arms is a whole number with a bit per arm: sets are compared at once.
    """
    groups = {(1 << len(apart_AA)) - 1}
    for a, b in np.argwhere(apart_AA).tolist():
        pair = 1 << a | 1 << b
        split = [group for group in groups if group & pair == pair]
        groups.difference_update(split)
        for part in {group & ~(1 << one) for group in split for one in (a, b)}:
            if not any(part & other == part for other in groups):
                groups.add(part)
    members = [[k for k in range(len(apart_AA)) if group >> k & 1] for group in groups]
    return sorted(members)


def _letter(k: int) -> str:
    """a to z, then a1 to z1, …"""
    turn, letter = divmod(k, len(string.ascii_lowercase))
    return string.ascii_lowercase[letter] + (str(turn) if turn else "")
