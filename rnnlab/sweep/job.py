"""A job of a sweep, and how it ended. Imports no torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from rnnlab.config import Config
from rnnlab.runs.record import Record


@dataclass(frozen=True)
class Job:
    """One configuration of a sweep, composed and checked.

    Args:
        number: from 0 on.
        overrides: those of the command line, the sweep's own choice among them.
        config: the checked configuration; None where it was refused.
        folder: the run folder that follows from the configuration, relative to the current folder.
        refused: what is wrong with the configuration; empty where nothing is.
        notes: what the choice of the engine had to say.
        memory: bytes that it needs of this machine's memory at least.
    """

    number: int
    overrides: tuple[str, ...]
    config: Config | None = None
    folder: Path | None = None
    refused: str = ""
    notes: tuple[str, ...] = ()
    memory: int = 0


ENDINGS = {
    "finished": "finished",
    "skipped": "finished before",
    "failed": "failed",
    "refused": "refused",
    "interrupted": "interrupted",
    "waiting": "not begun",
}
"""How a job can end, and the words for it. `refused`: a wrong configuration; `interrupted`: to be gone on with."""
RESULTS = ("finished", "skipped")
"""The endings that leave results."""


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Args:
        status: one of ENDINGS in the end; until then also `busy`, another process works on its folder.
        reason: one line.
        objective: see `objective`; NaN unless there are results.
    """

    status: str
    reason: str = ""
    objective: float = math.nan


def objective(folder: Path) -> float:
    """What a search minimises: the best evaluation loss, mean over seeds.

    Infinite where a seed diverged before an evaluation: what it had before its first update says nothing of training.

    Raises:
        DamagedError: the run has no results that can be read.
    """
    record = Record(folder)
    rows = [row for row in record.metrics("eval").rows if row["step"] > 0 and row.get("loss") is not None]
    losses = []
    for seed in record.summary["seeds"]:
        best = seed["best_eval_loss"]
        if seed["status"] == "diverged":
            best = min((row["loss"] for row in rows if row["seed"] == seed["seed"]), default=None)
        losses.append(math.inf if best is None else best)
    return sum(losses) / len(losses)


def labels(jobs: list[Job]) -> dict[int, str]:
    """By number, what tells a job from the others: the overrides that not all jobs share."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return {job.number: " ".join(o for o in job.overrides if o not in common) or "(no override)" for job in jobs}
