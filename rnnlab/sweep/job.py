"""A job of a sweep, and how it ended. Imports no torch."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from rnnlab.schema import Config


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


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        status: `finished` now; `skipped`, since it was finished before; `failed`; `refused`, a wrong configuration;
            `interrupted`, to be gone on with; `waiting`, never begun; `busy`, another process works on its folder.
        reason: one line.
        objective: see `objective`; NaN unless there are results.
    """

    status: str
    reason: str = ""
    objective: float = math.nan


def objective(folder: Path) -> float:
    """What a search minimises: the best evaluation loss, mean over seeds. Infinite where a seed never had one."""
    seeds = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["seeds"]
    losses = [math.inf if seed["best_eval_loss"] is None else seed["best_eval_loss"] for seed in seeds]
    return sum(losses) / len(losses)


def labels(jobs: list[Job]) -> dict[int, str]:
    """By number, what tells a job from the others: the overrides that not all jobs share."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return {job.number: " ".join(o for o in job.overrides if o not in common) or "(no override)" for job in jobs}
