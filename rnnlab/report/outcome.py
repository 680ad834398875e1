"""How one seed of a run ended or stands, from summary.json or, where the run is partial, from metrics.jsonl."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """One seed.

    Attributes:
        status: solved, unsolved, diverged; undecided where the run is partial and the seed neither solved nor diverged.
        steps: updates made.
        steps_to_solve: updates at the first evaluation that solved the task; None: not solved.
        final_loss, final_metric: of the last evaluation; NaN where there is none or it was not finite.
    """

    seed: int
    status: str
    steps: int
    steps_to_solve: int | None
    final_loss: float
    final_metric: float


def from_summary(summary: dict[str, Any]) -> list[Outcome]:
    """The outcomes of a finished run."""
    metric = summary["metric"]
    return [
        Outcome(
            seed=row["seed"],
            status=row["status"],
            steps=row["steps"],
            steps_to_solve=row["steps_to_solve"],
            final_loss=number(row["final_eval_loss"]),
            final_metric=number(row[f"final_eval_{metric}"]),
        )
        for row in summary["seeds"]
    ]


def from_metrics(rows: list[dict[str, Any]], seeds: list[int], metric: str) -> list[Outcome]:
    """The outcomes so far of a run that has no summary, from its lines of metrics.

    A seed has diverged when its loss or gradient norm was not finite, or when its lines end before the others' do
    although it was not solved.
    """
    last, evaluated = dict.fromkeys(seeds, 0), {seed: [] for seed in seeds}
    for row in rows:
        if row["seed"] in last:
            last[row["seed"]] = max(last[row["seed"]], row["step"])
            evaluated[row["seed"]] += [row] if row["split"] == "eval" else []
    newest = max((row["step"] for row in rows if row["split"] == "train"), default=0)
    broken = {row["seed"] for row in rows if row["split"] == "train" and None in (row["loss"], row["grad_norm"])}
    tells = any("solved" in row for row in rows)  # else a seed whose lines end early may have been solved
    outcomes = []
    for seed in seeds:
        solved = next((row["step"] for row in evaluated[seed] if row.get("solved")), None)
        diverged = seed in broken or (tells and solved is None and last[seed] < newest)
        status = "solved" if solved is not None else "diverged" if diverged else "undecided"
        final = evaluated[seed][-1] if evaluated[seed] else {}
        outcomes.append(Outcome(seed, status, last[seed], solved, number(final.get("loss")), number(final.get(metric))))
    return outcomes


@dataclass(frozen=True)
class Evaluations:
    """The evaluations of a run: per seed, step (N,) and loss (N,), steps rising."""

    by_seed: dict[int, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, rows: list[dict[str, Any]]) -> "Evaluations":
        """From lines of metrics."""
        found: dict[int, list[tuple[int, float]]] = {}
        for row in rows:
            if row["split"] == "eval":
                found.setdefault(row["seed"], []).append((row["step"], number(row["loss"])))
        return cls({seed: (np.array([s for s, _ in of]), np.array([x for _, x in of])) for seed, of in found.items()})


def number(value: Any) -> float:
    """A float; NaN for None and for what is no number, or none that a float can hold."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan
