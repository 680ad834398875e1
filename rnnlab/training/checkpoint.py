"""Checkpoints that are either whole or not there, and that execute no code when loaded.

A file's name holds the training step and the hash of its content: step-00000500-<16 hex digits>.pt. Loading goes from
the newest to the oldest; one whose content does not match its name is named, and the one before it is used.
"""

import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from rnnlab.messages import shown
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.folder import write_atomically
from rnnlab.runs.record import LARGE, SAVED
from rnnlab.runs.safe_files import read_regular

_PARTS = {"run_id": str, **dict.fromkeys(("population", "progress", "adjoints", "prober", "metrics", "probes"), dict)}
"""What a state consists of; see rnnlab.training.run."""


def save(folder: Path, step: int, state: dict[str, Any], *, keep: int, every: int, passing: bool) -> None:
    """Write one checkpoint and remove all but the newest `keep`.

    Args:
        every: the interval of regular checkpoints, in updates.
        passing: this one is only there because the run was interrupted. It removes none, and goes when the next
            one is written, so that an interrupted run ends with the same files as an uninterrupted one.
    """
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.save(_canonical(state), buffer)
    content = buffer.getvalue()
    written = folder / f"step-{step:08d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    write_atomically(written, content)
    if passing:
        return
    others = [path for path in _found(folder) if path != written]
    # One of the same step was left by an evaluation that was interrupted.
    regular = [path for path in others if step_of(path) % every == 0 and step_of(path) != step]
    for old in others:
        if old not in regular[: keep - 1]:
            old.unlink()


def _canonical(value: Any) -> Any:
    """Equal states become equal bytes, whether they were made in one session or loaded in between.

    A pickle notes which strings are one object and which storage a view belongs to; here neither says anything.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {_canonical(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(v) for v in value]
    return sys.intern(value) if isinstance(value, str) else value


def each(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | DamagedError]]:
    """Checkpoints, the newest first: each with its state, or with what is wrong with it. Nothing is changed."""
    passed_over: set[Path] = set()
    while left := [path for path in _found(folder) if path not in passed_over]:
        passed_over.add(left[0])
        try:
            yield left[0], _read(left[0])
        except FileNotFoundError:  # the run, at work meanwhile, has written newer ones: look again
            continue
        except DamagedError as error:
            yield left[0], error


def look(folder: Path, run_id: str, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest good state of a run, or None; for those who do not work on it, and leave everything as it is.

    Args:
        warn: told about every file that is damaged, or of another run.
    """
    for path, state in each(folder):
        if not isinstance(state, DamagedError) and state["run_id"] != run_id:
            state = of_another_run(path, state)
        if not isinstance(state, DamagedError):
            return state
        warn(f"{state.short}; the checkpoint before it is taken.")
    return None


def of_another_run(path: Path, state: dict[str, Any]) -> DamagedError:
    return DamagedError(path, f"is of another run, {shown(state['run_id'])}")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_regular(path, LARGE)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(path, f"cannot be read: {error.strerror or error}") from None
    match = SAVED.fullmatch(path.name)
    if match is None or hashlib.sha256(content).hexdigest()[:16] != match.group(2):
        raise DamagedError(path, "does not match its checksum")
    try:
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a stranger's pickle does to the restricted unpickler
        raise DamagedError(path, f"cannot be read: {shown(error)}") from None
    if not _is_state(state, step_of(path)):
        raise DamagedError(path, "holds no state of a run")
    return state


def _is_state(state: Any, step: int) -> bool:
    """Whether it has the form of a state after this step. Whose net it is of, the run itself finds out."""
    if not isinstance(state, dict) or not all(isinstance(state.get(key), kind) for key, kind in _PARTS.items()):
        return False
    reached, weights = state["progress"].get("step"), state["population"].get("weights")
    return (
        type(reached) is int
        and reached == step
        and isinstance(weights, dict)
        and all(isinstance(of_seed, dict) for of_seed in weights.values())
        and all(isinstance(weight, torch.Tensor) for of_seed in weights.values() for weight in of_seed.values())
    )


def _found(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    named = [p for p in folder.iterdir() if SAVED.fullmatch(p.name) and p.is_file()]
    return sorted(named, key=step_of, reverse=True)


def reached(folder: Path) -> int:
    """The step of the newest checkpoint, good or not; 0 where there is none."""
    return max(map(step_of, _found(folder)), default=0)


def step_of(path: Path) -> int:
    """The training step that a checkpoint's name tells."""
    return int(path.name.split("-")[1])
