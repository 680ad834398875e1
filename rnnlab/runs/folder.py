"""A run is a folder: the files of the contract, written so that a crash leaves either the old file or the new one."""

import contextlib
import functools
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from omegaconf import OmegaConf

from rnnlab.contract import InUseError, RunError
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.digest import Digest, checksum, digest
from rnnlab.runs.record import CHECKSUM, Record
from rnnlab.runs.safe_files import refuse_links

LOG = "output.log"
"""In the folder of a sweep's run: what the run has printed."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write, flush to the disk, rename: a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed process; or a planted link, which is not written through
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain(value: Any) -> Any:
    """For JSON, which has no NaN and no infinity: those become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


GLANCE = 0.2
"""Seconds that a run waits for its folder's lock: `held` takes it for a moment."""


class RunFolder:
    """runs/<name>/<run_id>/ and its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoint"
        self.tensorboard = path / "tensorboard"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and hold it; the lock goes with the process, also when it is killed.

        Raises:
            InUseError: another process holds the folder.
            RunError: it cannot be made, or something in it is a link.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"The run folder {self.path} cannot be made: {error.strerror}.") from error
        refuse_links(self.path)
        lock = filelock.FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=GLANCE)
        except filelock.Timeout:
            holder = self._holder()
            raise InUseError(
                f"{self.path} is in use by another process ({holder}). Wait for it, or stop it first."
            ) from None
        except OSError as error:
            raise RunError(f"The run folder {self.path} cannot be written: {error.strerror}.") from error
        try:
            yield
        finally:
            lock.release()

    def missing(self) -> list[Path]:
        """The folder and those above it that are not there, to be given to `withdraw` if nothing comes of the run."""
        return [path for path in (self.path, *self.path.parents) if not path.exists()]

    def withdraw(self, made: list[Path]) -> None:
        """Remove what this process made for a run that nothing was trained in.

        Args:
            made: what was `missing` before.
        """
        if self.path in made:
            shutil.rmtree(self.path, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):  # another run is in it
                path.rmdir()

    def held(self) -> bool:
        """Whether a process works on this folder; also True where that cannot be found out."""
        path = self.path / ".lock"
        if path.is_symlink() or not path.is_file():  # a link is not written through
            return path.is_symlink() or path.exists()
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except (filelock.Timeout, OSError):
            return True
        lock.release()
        return False

    def clear(self) -> None:
        """Remove everything but the lock and the log, which is being written.

        The manifest goes first, then the checkpoints: cut short at any point, what is left is a run that goes on from
        a good checkpoint, or from nothing.
        """
        (self.path / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        for entry in self.path.iterdir():
            if entry.name not in (".lock", LOG):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def manifest(self) -> dict[str, Any]:
        """manifest.json, or an empty dict where there is none.

        Raises:
            DamagedError: there is one that is not what a run writes.
        """
        return Record(self.path).manifest if (self.path / "manifest.json").exists() else {}

    def _holder(self) -> Any:
        try:
            return self.manifest().get("process", "unknown")
        except DamagedError:
            return "unknown"

    def write_manifest(self, content: dict[str, Any]) -> None:
        """manifest.json, with its own checksum: it vouches for all other files, so nobody else can for it."""
        content = {key: value for key, value in plain(content).items() if key != "checksum"}
        self.write_json("manifest.json", {**content, "checksum": checksum(content)})

    def write_json(self, name: str, content: dict[str, Any]) -> Digest:
        return self._write(name, (json.dumps(plain(content), indent=2) + "\n").encode())

    def write_config(self, resolved: dict[str, Any]) -> Digest:
        text = "# The resolved configuration of this run. To run it again:\n"
        text += "# python -m rnnlab --config-path=FOLDER --config-name=config  (FOLDER: this one)\n"
        body = OmegaConf.to_yaml({**resolved, "force": False})
        return self._write("config.yaml", f"{text}{CHECKSUM}{digest(body.encode())['sha256']}\n{body}".encode())

    def write_adjoints(self, arrays: dict[str, np.ndarray]) -> Digest:
        buffer = BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return self._write("adjoints.npz", buffer.getvalue())

    def _write(self, name: str, content: bytes) -> Digest:
        write_atomically(self.path / name, content)
        return digest(content)


def now() -> str:
    """The time as ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Versions, commit and machine, for the manifest."""
    import torch

    import rnnlab

    packages = {"rnnlab": rnnlab.__version__, "torch": torch.__version__, "numpy": np.__version__}
    return {
        "versions": {"python": platform.python_version(), **packages},
        "git_commit": _commit(Path(rnnlab.__file__).resolve().parent.parent),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "process": os.getpid(),
    }


@functools.cache  # what is imported does not change while a sweep's worker goes from run to run
def _commit(checkout: Path) -> str | None:
    """The commit of the checkout that the code runs from; with `+changes` where files differ from it."""
    if not (checkout / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(checkout)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
