"""Jobs per second and core of a sweep over runs of one step: what a sweep itself costs.

Each sweep is a process of its own, `python -m rnnlab -m …`, in a temporary folder. Of two sweeps the short one is taken
off the long one, so that what is left is the cost of a job; the start of Hydra and of the workers, which import torch
once, is told beside it.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

from rich.table import Table

from rnnlab.bench.timing import small_table
from rnnlab.processors import cores

TARGET = 5.0
"""Jobs per second and core, at least."""
TINY = (
    "task=adding",
    "task.length=20",
    "task.batch=8",
    "cell=rnn",
    "cell.hidden=16",
    "steps=1",
    "evaluate.examples=50",
)


def measure(*, jobs: int, tensorboard: bool) -> dict[str, Any]:
    """Figures of the jobs themselves, and with the start.

    Returns:
        `jobs_per_s_and_core`, and `jobs_per_cpu_s`, the same on a machine that has nothing else to do;
        `all_jobs_per_s_and_core` counts the start, which takes `start_s`.
    """
    few = max(cores(), jobs // 5)
    (short, short_cpu), (long, long_cpu) = (_seconds(number, tensorboard) for number in (few, jobs))
    each = (long - short) / (jobs - few)
    return {
        "cores": cores(),
        "jobs_s": long,
        "start_s": short - few * each,
        "jobs_per_s_and_core": 1 / each / cores(),
        "jobs_per_cpu_s": (jobs - few) / (long_cpu - short_cpu),
        "all_jobs_per_s_and_core": jobs / long / cores(),
        "target jobs_per_s_and_core": TARGET,
    }


def _seconds(jobs: int, tensorboard: bool) -> tuple[float, float]:
    """Wall and processor seconds of a sweep and its workers."""
    rates = ",".join(f"{1e-4 * (1 + job):.4f}" for job in range(jobs))
    command = [*TINY, f"tensorboard={str(tensorboard).lower()}", f"optimiser.lr={rates}"]
    with tempfile.TemporaryDirectory() as folder:
        began, used = time.perf_counter(), _cpu_seconds()
        done = subprocess.run(
            [sys.executable, "-m", "rnnlab", "-m", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        )
        if done.returncode:
            raise RuntimeError(f"The sweep ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return time.perf_counter() - began, _cpu_seconds() - used


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row."""
    table = small_table(
        "a sweep of one-step jobs", "cores", "jobs / s / core", "jobs / cpu s", "with the start", "start s", "all s"
    )
    names = ("jobs_per_s_and_core", "jobs_per_cpu_s", "all_jobs_per_s_and_core", "start_s", "jobs_s")
    figures = [result[name] for name in names]
    table.add_row(str(result["cores"]), *(f"{figure:.2f}" for figure in figures))
    return [table, f"target: at least {TARGET:g} jobs / s / core"]
