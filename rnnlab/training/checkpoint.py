"""Checkpoints that are either whole or not there, and that execute no code when loaded.

A file's name holds the training step and the hash of its content: step-00000500-<16 hex digits>.pt. Loading goes from
the newest to the oldest; one whose content does not match its name is named, set aside, and the one before it is used.
"""

import hashlib
import io
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rnnlab.runs.folder import write_atomically

_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})\.pt")


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
    regular = [path for path in others if _step(path) % every == 0 and _step(path) != step]
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


def load(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest good checkpoint, or None.

    Args:
        warn: told about every damaged file, which is renamed to *.damaged.
    """
    for path in _found(folder):
        try:
            return _read(path)
        except _DAMAGED as error:
            aside = path.with_name(path.name + ".damaged")
            path.replace(aside)
            warn(f"Checkpoint {path.name} is damaged ({error}); set aside as {aside.name}.")
    return None


def look(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest good checkpoint, or None; for those who do not work on the run, and leave everything as it is.

    Args:
        warn: told about every damaged file.
    """
    passed_over: set[Path] = set()
    while left := [path for path in _found(folder) if path not in passed_over]:
        try:
            return _read(left[0])
        except FileNotFoundError:  # the run has written newer ones meanwhile: look again
            passed_over.add(left[0])
        except _DAMAGED as error:
            passed_over.add(left[0])
            warn(f"Checkpoint {left[0].name} is damaged ({error}); the one before it is taken.")
    return None


_DAMAGED = (ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError)


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    match = _NAME.fullmatch(path.name)
    if match is None or digest != match.group(2):
        raise ValueError("its content does not match its checksum")
    state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return state


def _found(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    named = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)]
    return sorted(named, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])
