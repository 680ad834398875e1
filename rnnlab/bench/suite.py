"""`unroll` over shapes, cells and numbers of threads, and the medians over the shapes beside the targets.

Every row is a process of its own: JAX cannot change its threads in a running one, and no row then finds the memory
that another left. Within a row all candidates take turns in one process.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from math import prod
from statistics import median
from typing import Any

from rich.table import Table

from rnnlab.bench.targets import unroll_targets
from rnnlab.bench.timing import small_table

REPETITIONS = 30
"""Rounds of a row at most; small shapes reach it before their time is over."""
TIMES = ("rnnlab_s", "torch_nn_s", "hooks_s", "jax_s", "gemm_floor_s")


def measure(
    *, cells: Sequence[str], threads: Sequence[int], inputs: int, shapes: Sequence[Sequence[int]], seconds: int
) -> dict[str, Any]:
    """`rows`: what `unroll` gave, with its arguments; `medians`: per cell and ratio, by number of threads and over all.

    The smallest shape does not count for the ratio to the floor.
    """
    rows = []
    for count, (length, batch, hidden), cell in product(threads, shapes, cells):
        sizes = {"cell": cell, "length": length, "batch": batch, "hidden": hidden, "inputs": inputs, "threads": count}
        print(" ".join(f"{key}={value}" for key, value in sizes.items()), file=sys.stderr, flush=True)
        rows.append(_row(sizes, seconds))
    return {"rows": rows, "medians": {cell: _medians(cell, rows, threads) for cell in cells}}


def _row(sizes: dict[str, Any], seconds: int) -> dict[str, Any]:
    options = {**sizes, "repetitions": REPETITIONS, "seconds": seconds}
    arguments = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "rnnlab.bench", "unroll", *arguments, "--no-plain", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def _medians(cell: str, rows: list[dict[str, Any]], threads: Sequence[int]) -> dict[str, dict[str, float | None]]:
    smallest = min(_size(row) for row in rows)
    result = {}
    for ratio, target in unroll_targets(cell).items():
        chosen = [
            row
            for row in rows
            if row["cell"] == cell
            and row[ratio] is not None
            and not (ratio == "rnnlab/floor" and _size(row) == smallest)
        ]
        by_threads = {f"threads={n}": _median(row[ratio] for row in chosen if row["threads"] == n) for n in threads}
        over_all = _median(row[ratio] for row in chosen)
        result[ratio] = {**by_threads, "median": over_all, "target": target.must, "aim": target.aim}
    return result


def _size(row: dict[str, Any]) -> int:
    return prod(row[name] for name in ("length", "batch", "hidden"))


def _median(values: Any) -> float | None:
    values = list(values)
    return median(values) if values else None


def show(result: dict[str, Any]) -> list[Table | str]:
    """A row per measurement, and a row per cell and target."""
    ratios = list(unroll_targets("rnn"))
    table = small_table("forward + backward, ms", "", *(name.removesuffix("_s") for name in TIMES), *ratios)
    for row in result["rows"]:
        shape = f"{row['cell']} {row['length']},{row['batch']},{row['hidden']} x{row['threads']}"
        times = (_text(row[name], 1e3, 1) for name in TIMES)
        table.add_row(shape, *times, *(_text(row[ratio]) for ratio in ratios))
    columns = list(next(iter(next(iter(result["medians"].values())).values())))
    summary = small_table("medians over the shapes", "", *columns)
    for cell, of_cell in result["medians"].items():
        for ratio, figures in of_cell.items():
            summary.add_row(f"{cell} {ratio}", *(_text(value) for value in figures.values()))
    absent = {
        f"no {name}: {why}"
        for row in result["rows"]
        for name, why in row["absent"].items()
        if name not in ("plain", "norms_on")
    }
    return [table, summary, *sorted(absent)]


def _text(value: float | None, scale: float = 1.0, digits: int = 2) -> str:
    return "" if value is None else f"{scale * value:.{digits}f}"
