"""From run folders to runs: found, read as far as they go, and what cannot be read is named. Imports no torch."""

import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.contract import RunError
from rnnlab.report.outcome import Evaluations, Outcome, from_metrics, from_summary
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.safe_files import refuse_links
from rnnlab.runs.state import STATES, state_of
from rnnlab.runs.stored_config import read_config
from rnnlab.schema import YOUNGER

WORKING = ("checkpoint", "tensorboard", ".git", ".venv", "node_modules", "__pycache__")
"""Folders that no run folder lies in."""
PARTIAL = STATES[1:]


class UnreadableError(Exception):
    """A run folder that nothing can be compared from; the message says why."""


@dataclass(frozen=True)
class Adjoints:
    """adjoints.npz: `step` (P,), `seed` (R,), `norm` (P, R, S, T), `state` (S,)."""

    step: np.ndarray
    seed: np.ndarray
    norm_PRST: np.ndarray
    state: list[str]


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        config: keys with dots, `optimiser.lr`; a group's own key, `cell`, holds the option's name.
        state: one of STATES.
        outcomes: one per seed.
        unit, metric, solved_when: the task's, "" where a partial run does not tell.
        seconds: spent in training steps, all seeds together; None where the run does not tell.
        seconds_per_step: of all seeds in lockstep.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    state: str
    outcomes: list[Outcome]
    baseline: float | None
    unit: str
    metric: str
    solved_when: str
    parameters: int | None
    seconds_per_step: float | None
    remarks: list[str] = field(default_factory=list)

    @property
    def partial(self) -> bool:
        return self.state in PARTIAL

    @property
    def seconds(self) -> float | None:
        """Seconds spent in training steps so far."""
        steps = max((outcome.steps for outcome in self.outcomes), default=0)
        return None if self.seconds_per_step is None else self.seconds_per_step * steps

    @cached_property
    def evaluations(self) -> Evaluations:
        """The evaluations in metrics.jsonl; lines that are no JSON are left out."""
        return Evaluations.read(self.path / "metrics.jsonl")

    def adjoints(self) -> Adjoints | None:
        """The recorded norms, read anew at every call; None, with a remark, where they cannot be read."""
        path = self.path / "adjoints.npz"
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                norm_PRST, state = file["norm"], [str(s) for s in file["state"]]
                found = Adjoints(file["step"].astype(int), file["seed"], norm_PRST, state)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self._remark(f"adjoints.npz cannot be read: {error}")
            return None
        if found.norm_PRST.shape[:3] != (len(found.step), len(found.seed), len(found.state)):
            self._remark(f"adjoints.npz has norms of shape {found.norm_PRST.shape}, which is not (P, R, S, T)")
            return None
        if norm_PRST.dtype.kind not in "fiu" or (norm_PRST < 0).any():
            self._remark("adjoints.npz holds norms that are no numbers from 0")
            return None
        return found if norm_PRST.size else None

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Run folders among and below the paths, each once, in order. Symbolic links are not followed."""
    seen = set()
    for path in paths:
        for folder, below, files in os.walk(path):
            below[:] = sorted(name for name in below if name not in WORKING)
            if "manifest.json" in files or {"config.yaml", "metrics.jsonl"} <= set(files):
                below.clear()
                resolved = Path(folder).resolve()
                if resolved not in seen:
                    seen.add(resolved)
                    yield Path(folder)


def read(path: Path) -> Run:
    """One run folder.

    Raises:
        UnreadableError: it has no configuration, no manifest, or neither summary nor metrics that make sense.
    """
    try:
        return _read(path)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UnreadableError(f"a file is not what a run writes ({type(error).__name__}: {error})") from error


def _read(path: Path) -> Run:
    try:
        refuse_links(path)
    except RunError as error:
        raise UnreadableError(str(error)) from None
    manifest = _json(path / "manifest.json")
    config = flat(YOUNGER | _config(path / "config.yaml"))
    _check(config)
    state = _state(path, manifest)
    remarks = []
    summary: dict[str, Any] = {}
    if state == "finished":
        try:
            summary = _json(path / "summary.json")
        except UnreadableError as error:
            remarks.append(f"{error}; results are those of metrics.jsonl")
    task = {**manifest.get("task", {}), **summary}
    run = Run(
        path=path,
        config=config,
        manifest=manifest,
        state=state,
        outcomes=[],
        baseline=_number(task.get("baseline")),
        unit=str(task.get("unit", "")),
        metric=str(task.get("metric", "")),
        solved_when=str(task.get("solved_when", "")),
        parameters=_count(task.get("parameters", manifest.get("parameters"))),
        seconds_per_step=_number(summary.get("seconds_per_step")) or _seconds_per_step(manifest),
        remarks=remarks,
    )
    if summary:
        run.outcomes.extend(from_summary(summary))
    else:
        run.outcomes.extend(from_metrics(path / "metrics.jsonl", [int(s) for s in manifest["seeds"]], run.metric))
    return run


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


def _state(path: Path, manifest: dict[str, Any]) -> str:
    state = state_of(path, manifest)
    if state not in STATES:
        raise UnreadableError(f"manifest.json: status {state!r}; known are {', '.join(STATES)}")
    return state


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableError(f"no {path.name}") from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UnreadableError(f"{path.name} holds no object")
    return content


def _config(path: Path) -> dict[str, Any]:
    try:
        return read_config(path)
    except DamagedError as error:
        raise UnreadableError(error.short) from None


def _seconds_per_step(manifest: dict[str, Any]) -> float | None:
    """From the sessions that were closed in order; None where none was."""
    closed = [s for s in manifest.get("sessions", []) if s.get("training_steps")]
    steps = sum(s["training_steps"] for s in closed)
    return sum(s["training_seconds"] for s in closed) / steps if steps else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
