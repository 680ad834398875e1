"""Interleaved repetitions, medians, ratios and a fitted exponent. Imports no torch."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
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


def interleaved(candidates: Mapping[str, Callable[[], Any]], repetitions: int, warm_up: int = 1) -> dict[str, Spread]:
    """Seconds per candidate, taken in rounds A B C, A B C, …, so that a busy machine slows all of them alike.

    Args:
        candidates: what to time, by name.
        repetitions: rounds that count.
        warm_up: rounds before those.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_ in range(warm_up + repetitions):
        for name, work in candidates.items():
            began = time.perf_counter()
            work()
            if round_ >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: Spread.of(values) for name, values in seconds.items()}


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
