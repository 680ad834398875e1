"""What a benchmark yields, and times taken in turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One line of a result. target: the value should be at most this."""

    what: str
    value: float
    unit: str = ""
    target: float | None = None
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.what:44}{self.value:10.4g} {self.unit:9}"
        if self.target is not None:
            text += f"<= {self.target:g}: {'reached' if self.value <= self.target else 'MISSED'}   "
        return (text + self.note).rstrip()


def milliseconds(what: str, seconds: Sequence[float]) -> Figure:
    """The median, lowest and highest beside it."""
    return Figure(what, 1e3 * median(seconds), "ms", note=f"{1e3 * min(seconds):.2f} to {1e3 * max(seconds):.2f}")


Pair = tuple[list[float], list[float]]
"""Seconds of ours and of theirs."""


def ratio(what: str, taken: Pair, target: float | None = None, note: str = "") -> Figure:
    """Of the medians. On a machine with other work that of the lowest, told beside it, varies less."""
    ours, theirs = map(median, taken)
    told = f"{1e3 * ours:.4g} ms / {1e3 * theirs:.4g} ms, of the lowest {min(taken[0]) / min(taken[1]):.3g}"
    return Figure(what, ours / theirs, "", target, f"{told}; {note}" if note else told)


LEAST_ROUNDS = 3
"""Rounds that are counted whatever the time they take."""


def interleaved(
    works: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 1, least_s: float = 0.0, seconds: float = inf
) -> dict[str, list[float]]:
    """Seconds of each, taken in rounds A B C, A B C, …, so that a busy machine slows all of them alike.

    Args:
        rounds: that count, at most.
        warm_up: rounds before those.
        least_s: a work is called again within its turn until so much time has passed, and the mean counts: a short one
            would else be timed in the caches that its predecessor left.
        seconds: after so many no further round begins, once LEAST_ROUNDS have counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    until = time.perf_counter() + seconds
    for turn in range(warm_up + rounds):
        if turn >= warm_up + LEAST_ROUNDS and time.perf_counter() > until:
            break
        for name, work in works.items():
            mean = _mean_seconds(work, least_s)
            if turn >= warm_up:
                taken[name].append(mean)
    return taken


def _mean_seconds(work: Callable[[], Any], least_s: float) -> float:
    began, calls, elapsed = time.perf_counter(), 0, 0.0
    while not calls or elapsed < least_s:
        work()
        calls, elapsed = calls + 1, time.perf_counter() - began
    return elapsed / calls
