"""A run is a folder: the files of the contract, written so that a crash leaves either the old file or the new one."""

import contextlib
import errno
import functools
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from omegaconf import OmegaConf

from rnnlab.contract import InUseError, RunError
from rnnlab.messages import shown
from rnnlab.processors import cores
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.digest import Digest, checksum, digest
from rnnlab.runs.record import Record
from rnnlab.runs.safe_files import refuse_links, why_no_folder
from rnnlab.runs.stored_config import as_written

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
            sync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # no folder can be opened there, and a rename is on the disk at once
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Have the disk hold what was written, where the file system (not CIFS, not every FUSE) can be asked to."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
        _tell_of_no_sync()


@functools.cache
def _tell_of_no_sync() -> None:
    print(
        "The file system that runs are written to cannot be asked to have the disk hold a file now. A crash of the "
        "whole machine may cost what was written last; one of the run costs nothing.",
        file=sys.stderr,
    )


def as_json(value: Any) -> Any:
    """For JSON, which has no NaN and no infinity: those become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    return value


LOCK_PATIENCE = 0.2
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
            why = why_no_folder(self.path) or error.strerror
            raise RunError(f"The run folder {self.path} cannot be made: {why}.") from error
        refuse_links(self.path)
        lock = process_lock(self.path / ".lock")
        try:
            lock.acquire(timeout=LOCK_PATIENCE)
        except filelock.Timeout:
            holder = self._holder()
            raise InUseError(
                f"{self.path} is in use by another process ({holder}). Wait for it, or stop it first."
            ) from None
        except (OSError, NotImplementedError) as error:
            raise RunError(_cannot_be_held(self.path, error)) from error
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
        lock = process_lock(path)
        try:
            lock.acquire(timeout=0)
        except (filelock.Timeout, OSError, NotImplementedError):
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
            DamagedError: there is one that is not what a run writes, or it is of a run that goes by another name. Who
                only reads may well be given a folder that was renamed, and asks `Record`.
        """
        path = self.path / "manifest.json"
        manifest = Record(self.path).manifest if path.exists() else {}
        if manifest and manifest["run_id"] != self.path.name:
            raise DamagedError(path, f"is of another run, {shown(manifest['run_id'])}")
        return manifest

    def _holder(self) -> str:
        try:
            return shown(self.manifest().get("process", "unknown"))
        except DamagedError:
            return "unknown"

    def write_manifest(self, content: dict[str, Any]) -> None:
        """manifest.json, with its own checksum: it vouches for all other files, so nobody else can for it."""
        content = {key: value for key, value in as_json(content).items() if key != "checksum"}
        self.write_json("manifest.json", {**content, "checksum": checksum(content)})

    def write_json(self, name: str, content: dict[str, Any]) -> Digest:
        return self._write(name, (json.dumps(as_json(content), indent=2) + "\n").encode())

    def write_config(self, resolved: dict[str, Any]) -> Digest:
        return self._write("config.yaml", as_written(OmegaConf.to_yaml({**resolved, "force": False}).encode()))

    def write_adjoints(self, arrays: dict[str, np.ndarray]) -> Digest:
        buffer = BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return self._write("adjoints.npz", buffer.getvalue())

    def _write(self, name: str, content: bytes) -> Digest:
        write_atomically(self.path / name, content)
        return digest(content)


def process_lock(path: Path) -> filelock.BaseFileLock:
    """One that goes with its process, also when that is killed; where there is none, no way out that stays behind."""
    return filelock.FileLock(path, fallback_to_soft=False)


NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


def _cannot_be_held(path: Path, error: Exception) -> str:
    if isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in NO_LOCKS):
        return (
            f"The run folder {path} cannot be held: this file system has no locks, so that nothing would keep two "
            "processes from one run. Start the command in a folder of another, a local disk; the results can be moved."
        )
    return f"The run folder {path} cannot be written: {getattr(error, 'strerror', None) or error}."


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
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": cores()},
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
