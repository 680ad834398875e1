"""`unroll` over five shapes, three cells and numbers of threads, and the medians over the shapes beside the targets.

Every row is a process of its own: JAX cannot change its threads in a running one, and no row then finds the memory
that another left. Within a row all candidates take turns in one process.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.work import CELLS, Name, Shape

SHAPES: Sequence[Shape] = ((120, 128, 128), (520, 128, 128), (1020, 64, 128), (1020, 20, 256), (200, 32, 64))
REPETITIONS = 30
"""Rounds of a row at most; small shapes reach it before their time is over."""


def measure(
    *, cells: Sequence[Name] = CELLS, threads: Sequence[int] = (1, 2), inputs: int = 10, seconds: int = 6
) -> Iterator[Figure]:
    """Every figure of every row, and then for each cell the medians of the ratios over shapes and threads.

    The smallest shape does not count for the ratio to the floor.

    Args:
        seconds: of rounds for each row.
    """
    ratios: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    smallest = min(SHAPES, key=prod)
    for count, shape, cell in product(threads, SHAPES, cells):
        for figure in _row(cell, shape, count, inputs, seconds):
            yield figure._replace(what=f"{cell} {','.join(map(str, shape))} x{count} {figure.what}")
            if figure.target is not None and not (figure.what == "rnnlab / floor" and shape == smallest):
                ratios[cell, figure.what, figure.target].append(figure.value)
    for (cell, what, target), values in sorted(ratios.items()):
        yield Figure(f"median of {cell} {what}", median(values), "", target)


def _row(cell: Name, shape: Shape, threads: int, inputs: int, seconds: int) -> list[Figure]:
    sizes = dict(zip(("length", "batch", "hidden"), shape, strict=True))
    options = {"cell": cell, **sizes, "threads": threads, "inputs": inputs, "repetitions": REPETITIONS}
    arguments = [f"--{key}={value}" for key, value in {**options, "seconds": seconds}.items()]
    command = [sys.executable, "-m", "benchmarks", "unroll", *arguments, "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr}")
    return [Figure(**json.loads(line)) for line in done.stdout.splitlines()]
