"""Interleaved repetitions, medians, ratios and a fitted exponent. Imports no torch."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Spread:
    """Seconds of several repetitions: their median, lowest and highest."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        return cls(statistics.median(seconds), min(seconds), max(seconds))


LEAST_ROUNDS = 3
"""Rounds that are counted whatever the time they take."""


def interleaved(
    candidates: Mapping[str, Callable[[], Any]],
    repetitions: int,
    *,
    warm_up: int = 1,
    least_s: float = 0.0,
    seconds: float = inf,
) -> dict[str, Spread]:
    """Seconds per candidate, taken in rounds A B C, A B C, …, so that a busy machine slows all of them alike.

    Args:
        candidates: what to time, by name.
        repetitions: rounds that count, at most.
        warm_up: rounds before those.
        least_s: a candidate is called again within its turn until so much time has passed, and the mean counts: a
            short one would else be timed in the caches that its predecessor left.
        seconds: after so many no further round begins, once LEAST_ROUNDS have counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    until = time.perf_counter() + seconds
    for round_ in range(warm_up + repetitions):
        if round_ >= warm_up + LEAST_ROUNDS and time.perf_counter() > until:
            break
        for name, work in candidates.items():
            mean = _mean_seconds(work, least_s)
            if round_ >= warm_up:
                taken[name].append(mean)
    return {name: Spread.of(values) for name, values in taken.items()}


def _mean_seconds(work: Callable[[], Any], least_s: float) -> float:
    began, calls, elapsed = time.perf_counter(), 0, 0.0
    while not calls or elapsed < least_s:
        work()
        calls, elapsed = calls + 1, time.perf_counter() - began
    return elapsed / calls


def report(spreads: Mapping[str, Spread]) -> dict[str, Any]:
    """`NAME_s`: the median; `spread`: [lowest, highest] per `NAME_s`."""
    return {
        **{f"{name}_s": spread.median for name, spread in spreads.items()},
        "spread": {f"{name}_s": [spread.lowest, spread.highest] for name, spread in spreads.items()},
    }


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """a of y ~ x^a, by least squares over the logarithms."""
    return statistics.linear_regression([log(v) for v in x], [log(v) for v in y]).slope


def small_table(title: str, *columns: str) -> Table:
    """An empty table whose columns after the first are numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def spread_table(title: str, result: Mapping[str, Any]) -> Table:
    """The medians of a `report`, in ms, with lowest and highest."""
    table = small_table(title, "", "median ms", "lowest", "highest")
    for name, (lowest, highest) in result["spread"].items():
        table.add_row(name.removesuffix("_s"), *(f"{1e3 * s:.2f}" for s in (result[name], lowest, highest)))
    return table
