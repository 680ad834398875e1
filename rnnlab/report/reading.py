"""From run folders to runs: found, read as far as they go, and what cannot be read is named. Imports no torch."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnlab.contract import RunError
from rnnlab.groups import NEUTRAL
from rnnlab.report.outcome import Evaluations, Outcome, from_metrics, from_summary
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.digest import checksum
from rnnlab.runs.record import Adjoints, Record
from rnnlab.runs.safe_files import refuse_links
from rnnlab.runs.state import STATES, state_of

WORKING = ("checkpoint", "tensorboard", ".git", ".venv", "node_modules", "__pycache__")
"""Folders that no run folder lies in."""
PARTIAL = STATES[1:]
NORMS_LEFT_OUT = "its adjoint norms are left out"


class UnreadableError(Exception):
    """A run folder that nothing can be compared from; the message says why."""


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        config: keys with dots, `optimiser.lr`; a group's own key, `cell`, holds the option's name. `sources` stands for
            the user's own code and data, where there are any.
        state: one of STATES.
        outcomes: one per seed; evaluations: those in metrics.jsonl, none where that is damaged.
        unit, metric, metric_unit, metric_better, evaluated_on, solved_when: the task's, "" where a run does not tell.
        seconds: spent in training steps, all seeds together; None where the run does not tell.
        seconds_per_step: of all seeds in lockstep.
    """

    record: Record
    config: dict[str, Any]
    manifest: dict[str, Any]
    state: str
    outcomes: list[Outcome]
    evaluations: Evaluations
    baseline: float | None
    unit: str
    metric: str
    metric_unit: str
    metric_better: str
    evaluated_on: str
    solved_when: str
    parameters: int | None
    seconds_per_step: float | None
    remarks: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.record.path

    @property
    def partial(self) -> bool:
        return self.state in PARTIAL

    @property
    def seconds(self) -> float | None:
        """Seconds spent in training steps so far."""
        steps = max((outcome.steps for outcome in self.outcomes), default=0)
        return None if self.seconds_per_step is None else self.seconds_per_step * steps

    def adjoints(self) -> Adjoints | None:
        """The recorded norms, read anew at every call; None, with a remark, where they cannot be read."""
        try:
            return self.record.adjoints()
        except DamagedError as error:
            self._remark(f"{error.short}; {NORMS_LEFT_OUT}")
            return None

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Run folders among and below the paths, each once, in order.

    A symbolic link to one, or to a folder of them, is followed: that is how runs are picked. What lies inside a run
    folder is not looked at here; its reader follows no link.
    """
    seen = set[Path]()
    for path in paths:
        for folder, below, files in os.walk(path, followlinks=True):
            resolved = Path(folder).resolve()
            below[:] = sorted(name for name in below if name not in WORKING) if resolved not in seen else []
            if "manifest.json" in files or {"config.yaml", "metrics.jsonl"} <= set(files):
                below.clear()
                if resolved not in seen:
                    yield Path(folder)
            seen.add(resolved)  # by which a link to a folder above ends


def read(path: Path) -> Run:
    """One run folder.

    Raises:
        UnreadableError: what a comparison needs is missing or damaged.
    """
    record = Record(path)
    try:
        refuse_links(path)
        return _read(record)
    except DamagedError as error:
        raise UnreadableError(error.short) from error
    except RunError as error:
        raise UnreadableError(str(error)) from error


def _read(record: Record) -> Run:
    manifest, config, metrics = record.manifest, _config(record), record.metrics()
    state, remarks, summary = state_of(record.path, manifest), [], {}
    said = f"metrics.jsonl: {metrics.damage}"
    if state == "finished":
        try:
            summary = record.summary
        except DamagedError as error:
            remarks.append(f"{error.short}; results are those of metrics.jsonl")
    if not metrics.whole and not summary:
        raise UnreadableError(f"{said}. The same command as before goes on from what is whole")
    if "adjoints.npz" in record.files:
        try:
            record.checked("adjoints.npz")
        except DamagedError as error:
            remarks.append(f"{error.short}; {NORMS_LEFT_OUT}")
    if metrics.damage:
        remarks.append(said if metrics.whole else f"{said}; its curves are left out")
    task = manifest["task"] | summary
    return Run(
        record=record,
        config=config,
        manifest=manifest,
        state=state,
        outcomes=from_summary(summary) if summary else from_metrics(metrics.rows, manifest["seeds"], task["metric"]),
        evaluations=Evaluations.of(metrics.rows if metrics.whole else []),
        baseline=task["baseline"],
        unit=task["unit"],
        metric=task["metric"],
        metric_unit=task["metric_unit"],
        metric_better=task["metric_better"],
        evaluated_on=str(task.get("evaluated_on", "")),
        solved_when=task["solved_when"],
        parameters=manifest["parameters"],
        seconds_per_step=summary.get("seconds_per_step") or _seconds_per_step(manifest),
        remarks=remarks,
    )


def _config(record: Record) -> dict[str, Any]:
    config = flat(NEUTRAL | record.config)
    _check(config)
    sources = record.manifest["sources"]
    return config | ({"sources": checksum(sources)[:8]} if sources else {})


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Keys with dots. A group's `_target_` becomes the group's own key, with the option's name: `cell: lstm`.

    A class outside of rnnlab keeps its whole path, for names may repeat.
    """
    result: dict[str, Any] = {}
    for key, value in config.items():
        for leaf, inner in value.items() if isinstance(value, dict) else [(None, value)]:
            if leaf == "_target_":
                result[str(key)] = _option(str(inner))
            else:
                result[str(key) if leaf is None else f"{key}.{leaf}"] = inner
    return result


def _option(target: str) -> str:
    parts = target.split(".")
    return parts[-2] if len(parts) > 2 and parts[0] == "rnnlab" else target


def _check(config: dict[str, Any]) -> None:
    """Numbers that a comparison counts with must be numbers, or the run would cost all others their report."""
    steps, lr = config.get("steps"), config.get("optimiser.lr", 0.0)
    if _count(steps) is None:
        raise UnreadableError(f"config.yaml: steps={steps!r}; a whole number above 0 is needed")
    if _number(lr) is None:
        raise UnreadableError(f"config.yaml: optimiser.lr={lr!r}; a finite number is needed")


def _seconds_per_step(manifest: dict[str, Any]) -> float | None:
    """From the sessions that were closed in order; None where none was."""
    steps = sum(session["training_steps"] for session in manifest["sessions"])
    return sum(session["training_seconds"] for session in manifest["sessions"]) / steps if steps else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
