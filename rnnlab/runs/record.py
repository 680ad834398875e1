"""A run folder read: the one door to what runs have written. Imports no torch.

A folder may be half written, damaged on the disk, or from a stranger. Whatever is read here is either what the run
wrote, as far as its checksums go and in the shape that a run writes, or a DamagedError that names file and damage.
Nothing is changed.

P probed training steps, R replica, S state component, T time.
"""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.arrays import load_arrays
from rnnlab.contract import WHOLE
from rnnlab.messages import LONGEST_VALUE, shown
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.digest import Digest, checksum, digest
from rnnlab.runs.identity import hash_of_stored
from rnnlab.runs.safe_files import read_regular
from rnnlab.runs.shapes import Manifest, Summary, check_shape, is_row, read_json
from rnnlab.runs.stored_config import is_as_written, parse_config

SMALL, LARGE = 64 * 2**20, 8 * 2**30
"""Bytes that a file may have: JSON and YAML; lines and arrays."""
PROBED = re.compile(r"step-(\d{8,15})\.npz")
SAVED = re.compile(r"step-(\d{8,15})-([0-9a-f]{16})\.pt")
"""A checkpoint's name: the training step, and the hash of its content."""


@dataclass(frozen=True)
class Metrics:
    """Lines of metrics.jsonl.

    Attributes:
        rows: those that can be read, and were asked for.
        damage: what is wrong with the file; '' where nothing is.
        whole: whether the lines that the run has vouched for are as it wrote them.
    """

    rows: list[dict[str, Any]]
    damage: str = ""
    whole: bool = True


@dataclass(frozen=True)
class Adjoints:
    """adjoints.npz: `step` (P,), `seed` (R,), `norm` (P, R, S, T), `state` (S,)."""

    step: np.ndarray
    seed: np.ndarray
    norm_PRST: np.ndarray
    state: list[str]


class Record:
    """The files of one run.

    Args:
        path: the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _content(self, name: str, limit: int) -> bytes:
        path = self.path / name
        try:
            return read_regular(path, limit)
        except FileNotFoundError:
            raise DamagedError(path, "is missing") from None
        except OSError as error:
            raise DamagedError(path, f"cannot be read: {error.strerror or error}") from None

    def checked(self, name: str, limit: int = LARGE) -> bytes:
        """The content of a file, held against the manifest's digest. Of a run that has not ended it may lack some."""
        expected = self.files.get(name)
        if expected is None and self.finished:
            raise DamagedError(self.path / name, "is not among the files that the manifest lists")
        content = self._content(name, limit)
        if expected is not None and digest(content) != expected:
            raise DamagedError(self.path / name, _difference(len(content), expected))
        return content

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """manifest.json, which carries its own checksum."""
        path = self.path / "manifest.json"
        content = read_json(path, self._content(path.name, SMALL))
        manifest = check_shape(path, content, Manifest)
        if manifest.pop("checksum", None) != checksum({key: v for key, v in content.items() if key != "checksum"}):
            raise DamagedError(path, "does not match its checksum")
        return manifest

    @property
    def files(self) -> dict[str, Digest]:
        return self.manifest["files"]

    @property
    def finished(self) -> bool:
        return self.manifest["status"] == "finished"

    @cached_property
    def stored(self) -> dict[str, Any]:
        """config.yaml by its own checksum alone, as plain data, also where the manifest is lost."""
        path = self.path / "config.yaml"
        content = self._content(path.name, SMALL)
        config = parse_config(path, content)
        if not is_as_written(content):
            raise DamagedError(path, "does not match its checksum")
        return config

    @cached_property
    def config(self) -> dict[str, Any]:
        """The same, which is the manifest's too. What the values mean is not checked here."""
        config = self.stored
        device = "cpu" if self.manifest["device"] == "cpu" else "cuda"  # whose name the manifest has
        if hash_of_stored(config, device=device, engine=self.manifest["engine"]) != self.manifest["configuration"]:
            raise DamagedError(self.path / "config.yaml", "is of another run than manifest.json")
        return config

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json of a finished run."""
        path = self.path / "summary.json"
        content = check_shape(path, read_json(path, self.checked(path.name, SMALL)), Summary)
        if content["run_id"] != self.manifest["run_id"]:
            raise DamagedError(path, f"is of another run, {shown(content['run_id'])}")
        if sorted(row["seed"] for row in content["seeds"]) != sorted(self.manifest["seeds"]):
            raise DamagedError(path, "has other seeds than the manifest")
        return content

    def metrics(self, split: str = "") -> Metrics:
        """metrics.jsonl, as far as it can be read. The last line of a run that was killed may be half written.

        Args:
            split: `train` or `eval`, where only those lines are wanted.
        """
        name = "metrics.jsonl"
        try:
            content = self._content(name, LARGE)
        except DamagedError as error:
            return Metrics([], error.damage, whole=False)
        expected = self.files.get(name, {"bytes": 0, "sha256": digest(b"")["sha256"]})
        vouched, rest = content[: expected["bytes"]], content[expected["bytes"] :]
        whole = digest(vouched) == expected and not (self.finished and rest)
        wanted = f'"split": "{split}"'.encode() if split else b""
        rows, unreadable = _rows(vouched, wanted if whole else b"")
        more, broken = _rows(rest.rpartition(b"\n")[0], b"")
        rows, unreadable = [r for r in [*rows, *more] if not split or r["split"] == split], unreadable + broken
        said = [] if whole else [_difference(len(content), expected)]
        lines = content.count(b"\n")
        said += [f"{unreadable} of {lines} lines cannot be read"] if unreadable else []
        return Metrics(rows, "; ".join(said), whole)

    def adjoints(self) -> Adjoints | None:
        """adjoints.npz; None where there is none yet, or nothing in it."""
        path = self.path / "adjoints.npz"
        if path.name not in self.files and not path.exists():
            return None
        arrays = self._arrays(path.name)
        try:
            found = Adjoints(arrays["step"], arrays["seed"], arrays["norm"], [str(s) for s in arrays["state"]])
        except (KeyError, TypeError) as error:
            raise DamagedError(path, f"holds no {error}") from None
        if found.norm_PRST.ndim != 4 or found.norm_PRST.shape[:3] != (
            *found.step.shape,
            *found.seed.shape,
            len(found.state),
        ):
            raise DamagedError(path, f"has norms of shape {found.norm_PRST.shape}, which is not (P, R, S, T)")
        if found.norm_PRST.dtype.kind not in "fiu" or (found.norm_PRST < 0).any():
            raise DamagedError(path, "holds norms that are no numbers from 0")
        if any(a.dtype.kind not in "iu" or (a < 0).any() or (a >= WHOLE).any() for a in (found.step, found.seed)):
            raise DamagedError(path, f"holds steps or seeds that are no whole numbers from 0 to {WHOLE:,}")
        if not all(name.isprintable() and len(name) <= LONGEST_VALUE for name in found.state):
            raise DamagedError(path, f"names a state by more than a line of {LONGEST_VALUE} characters")
        return found if found.norm_PRST.size else None

    def probes(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """What the probes measured, by training step: `seed` (R,), and PROBE.NAME (R, ...)."""
        for path in sorted((self.path / "probes").glob("step-*.npz")):
            step = PROBED.fullmatch(path.name)
            if step:
                yield int(step.group(1)), self._probed(path)

    def _probed(self, path: Path) -> dict[str, np.ndarray]:
        arrays = self._arrays(f"probes/{path.name}")
        rows = {array.shape[:1] for array in arrays.values()}
        numbers = all(array.dtype.kind in "biufc" for array in arrays.values())
        if "seed" not in arrays or len(rows) != 1 or () in rows or not numbers:
            raise DamagedError(path, "holds no numbers of one set of seeds")
        return arrays

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        try:
            return load_arrays(self.checked(name, LARGE))
        except ValueError as error:
            raise DamagedError(self.path / name, f"cannot be read: {error}") from None

    def damage(self) -> list[DamagedError]:
        """What is wrong with the results of a finished run: every file that its manifest vouches for is read."""
        found: dict[Path, DamagedError] = {}
        looks = [functools.partial(self.checked, name, LARGE) for name in self.files]
        for look in (*looks, lambda: self.config, lambda: self.summary):
            try:
                look()
            except DamagedError as error:
                found.setdefault(error.path, error)
        return [*found.values()]

    def check_prefix(self, name: str, expected: Digest) -> bytes:
        """The first bytes of a file, which must be what a checkpoint says they were."""
        content = self._content(name, LARGE)[: expected["bytes"]]
        if digest(content) != expected:
            raise DamagedError(self.path / name, _difference(len(content), expected))
        return content


def _difference(length: int, expected: Digest) -> str:
    if length < expected["bytes"]:
        return f"is shorter than what the run wrote ({length} of {expected['bytes']} bytes)"
    return "does not match its checksum"


def _rows(content: bytes, holding: bytes) -> tuple[list[dict[str, Any]], int]:
    """Rows of the lines that hold some bytes, and how many of those lines are none."""
    rows, unreadable = [], 0
    for line in content.split(b"\n"):
        if not line or holding not in line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and is_row(row):
            rows.append({"loss": None, "grad_norm": None, **row})
        else:
            unreadable += 1
    return rows, unreadable
