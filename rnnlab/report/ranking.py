"""Several arms: an order, and which of them cannot be told apart. Imports no torch."""

import itertools
import string
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rnnlab.report.pairs import Improvement, holm, probability_of_improvement


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
        pairs: (a, b), a before b in the order: the comparison of a with b.
        adjusted: (a, b): its p-value after Holm's correction over all pairs.
    """

    order: list[str]
    score: dict[str, float]
    groups: list[list[str]]
    letters: dict[str, str]
    pairs: dict[tuple[str, str], Improvement]
    adjusted: dict[tuple[str, str], float]


def rank(arms: Mapping[str, ArrayLike], *, lower_is_better: bool, level: float = 0.05) -> Ranking:
    """Order the arms and find out which of them cannot be told apart.

    Args:
        arms: name and one value per seed; see probability_of_improvement for inf and NaN.
        level: the chance of telling any two arms apart that do not differ.
    Raises:
        ValueError: no arms, or one without values.
    Compact letter display: Piepho 2004, An algorithm for a letter-based representation of all-pairwise comparisons.
    """
    if not arms:
        raise ValueError("rank: no arms.")
    found = {
        (a, b): probability_of_improvement(arms[a], arms[b], lower_is_better=lower_is_better)
        for a, b in itertools.combinations(arms, 2)
    }
    found |= {(b, a): improvement.reversed() for (a, b), improvement in found.items()}
    score = {a: float(np.mean([found[a, b].value for b in arms if b != a])) if len(arms) > 1 else 0.5 for a in arms}
    order = sorted(arms, key=lambda a: (-round(score[a], 12), a))  # a sum's last bit must not decide between ties
    pairs = {pair: found[pair] for pair in itertools.combinations(order, 2)}
    adjusted = dict(zip(pairs, map(float, holm([pair.p_value for pair in pairs.values()])), strict=True))
    groups = _groups(order, [pair for pair, p in adjusted.items() if p <= level])
    letters = {a: "".join(_letter(k) for k, group in enumerate(groups) if a in group) for a in order}
    return Ranking(order, score, groups, letters, pairs, adjusted)


def _groups(order: list[str], apart: list[tuple[str, str]]) -> list[list[str]]:
    """The largest sets without a pair that was told apart, those with better arms first (insert and absorb)."""
    groups = {frozenset(order)}
    for pair in apart:
        split = {group - {one} if group.issuperset(pair) else group for group in groups for one in pair}
        groups = {group for group in split if not any(group < other for other in split)}
    place = {name: k for k, name in enumerate(order)}
    return sorted((sorted(group, key=place.__getitem__) for group in groups), key=lambda g: [place[n] for n in g])


def _letter(k: int) -> str:
    """a to z, then a1 to z1, …"""
    turn, letter = divmod(k, len(string.ascii_lowercase))
    return string.ascii_lowercase[letter] + (str(turn) if turn else "")
