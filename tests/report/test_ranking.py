"""Many arms: order, groups that cannot be told apart, letters."""

import itertools
import math

import numpy as np
import pytest

from rnnlab.report.ranking import Ranking, rank

STEPS = {
    "fast": [1.0, 2, 3, 4, 5, 6],
    "middle": [5.5, 6.5, 7.5, 3.5, 8.5, 4.5],
    "slow": [7.0, 8, 9, 10, 11, 12],
    "never": [math.inf] * 6,
}


def test_order_and_groups_that_overlap() -> None:
    """fast and slow are told apart, and middle lies between: not apart from either."""
    found = rank({name: STEPS[name] for name in ("slow", "middle", "fast")}, lower_is_better=True, level=0.01)
    assert found.order == ["fast", "middle", "slow"]
    assert found.groups == [["fast", "middle"], ["middle", "slow"]]
    assert found.letters == {"fast": "a", "middle": "ab", "slow": "b"}


def test_direction_turns_the_order() -> None:
    lower, higher = (rank(STEPS, lower_is_better=flag) for flag in (True, False))
    assert lower.order == ["fast", "middle", "slow", "never"]
    assert higher.order == lower.order[::-1]


def test_three_seeds_tell_nothing_apart() -> None:
    found = rank({name: np.arange(3) + 10 * k for k, name in enumerate("abc")}, lower_is_better=True)
    assert found.order == ["a", "b", "c"]
    assert found.groups == [["a", "b", "c"]]


def test_groups_are_the_largest_sets_not_told_apart() -> None:
    """Brute force over all sets of arms."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        arms = {f"arm{k}": rng.normal(loc=rng.integers(0, 4), size=6) for k in range(6)}
        found = rank(arms, lower_is_better=True)
        together = [set(s) for size in range(1, 7) for s in itertools.combinations(found.order, size) if _one(found, s)]
        largest = [s for s in together if not any(s < other for other in together)]
        assert sorted(map(sorted, found.groups)) == sorted(map(sorted, largest))
        for (a, b), p in found.adjusted.items():
            assert bool(set(found.letters[a]) & set(found.letters[b])) == (p > 0.05)


def test_pairs_look_down_the_order() -> None:
    found = rank(STEPS, lower_is_better=True)
    assert list(found.pairs) == list(itertools.combinations(found.order, 2))
    for pair, improvement in found.pairs.items():
        assert improvement.value >= 0.5
        assert found.adjusted[pair] >= improvement.p_value
    assert found.score["fast"] == pytest.approx(np.mean([found.pairs["fast", b].value for b in found.order[1:]]))


def test_the_order_of_the_arms_given_does_not_matter() -> None:
    first = rank(STEPS, lower_is_better=True)
    for names in itertools.permutations(STEPS):
        other = rank({name: STEPS[name] for name in names}, lower_is_better=True)
        assert (other.order, other.groups, other.letters) == (first.order, first.groups, first.letters)
    ties = {"e": [2, 2, 3], "a": [3, 2, 2], "b": [1, 1, 0], "c": [0, 0, 0], "d": [3, 2, 3]}
    assert rank(ties, lower_is_better=True).order == ["c", "b", "a", "e", "d"], "equal arms by name"
    for names in itertools.permutations(ties):
        assert rank({name: ties[name] for name in names}, lower_is_better=True).order == ["c", "b", "a", "e", "d"]


def test_one_arm_and_none() -> None:
    alone = rank({"only": [1.0]}, lower_is_better=True)
    assert (alone.order, alone.groups, alone.letters) == (["only"], [["only"]], {"only": "a"})
    assert alone.pairs == {}
    with pytest.raises(ValueError, match="no arms"):
        rank({}, lower_is_better=True)


def test_letters_do_not_run_out() -> None:
    """Thirty arms all apart, so thirty groups."""
    found = rank({f"{k:02}": np.arange(9) + 10 * k for k in range(30)}, lower_is_better=True)
    assert len(set(found.letters.values())) == 30
    assert found.letters["29"] == "d1"


def _one(found: Ranking, names: tuple[str, ...]) -> bool:
    return all(found.adjusted[pair] > 0.05 for pair in itertools.combinations(names, 2))


def test_places_are_those_that_the_pairs_do_not_exclude():
    rng = np.random.default_rng(3)
    found = rank({f"{k:02}": rng.normal(loc=k // 3, size=8) for k in range(12)}, lower_is_better=True)
    apart = {pair for pair, p in found.adjusted.items() if p <= 0.05}
    assert 0 < len(apart) < len(found.pairs)
    for name, (first, last) in found.places.items():
        assert first == 1 + sum(b == name for _, b in apart)
        assert last == 12 - sum(a == name for a, _ in apart)


def test_pairs_that_are_not_told_count_in_everything_else():
    arms = {f"{k:02}": np.arange(9.0) + 4 * k for k in range(12)}
    every, some = (rank(arms, lower_is_better=True, told=told) for told in (None, 3))
    assert list(some.pairs) == list(itertools.combinations(every.order[:3], 2))
    assert all(every.pairs[pair] == found for pair, found in some.pairs.items())
    assert all(every.adjusted[pair] == p for pair, p in some.adjusted.items())
    assert (some.places, some.groups, some.score) == (every.places, every.groups, every.score)
