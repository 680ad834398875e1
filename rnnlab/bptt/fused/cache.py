"""The cache of compiled kernels. Imports no torch.

A library is found by a hash over everything that decides what the compiler makes: source, flags, compiler, torch and
CPU. It lies beside its checksum, because loading a damaged one can kill the process; and as loading it runs it, a cache
that other users can write to is not used.
"""

import atexit
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import filelock

from rnnlab.bptt.fused.compiler import FLAGS, Compiler, KernelUnavailable, Say, compile_kernel, source_hash

_PRIVATE: list[Path] = []
"""This process's own folder, once it was needed: the runs of a sweep then build once all the same."""


def cache_folder() -> Path:
    """`$RNNLAB_CACHE`, else `$XDG_CACHE_HOME/rnnlab`, else `~/.cache/rnnlab`."""
    if os.environ.get("RNNLAB_CACHE"):
        return Path(os.environ["RNNLAB_CACHE"]).absolute()
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]).absolute() / "rnnlab"
    return Path(os.path.expanduser("~/.cache/rnnlab")).absolute()


def find(compiler: Compiler, source: Path, march: str) -> Path | None:
    """The library in the cache, or in this process's own folder, where there is a good one."""
    paths = [folder / _name(compiler, source, march) for folder in (cache_folder(), *_PRIVATE)]
    return next((path for path in paths if _good(path)), None)


def build_in_cache(compiler: Compiler, source: Path, march: str, say: Say) -> Path:
    """Its path in the cache; where it cannot be kept there, in this process's own folder."""
    name, folder = _name(compiler, source, march), cache_folder()
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        reason = _open_to_others(folder)
        if reason is None:
            return _build_locked(compiler, source, march, folder / name, say)
    except (OSError, NotImplementedError) as error:  # filelock's word for a file system without locks
        reason = getattr(error, "strerror", None) or error
    say(f"The CPU kernel cannot be kept in {folder} ({reason}); it is built for this process alone.")
    try:
        return _build_locked(compiler, source, march, _private_folder() / name, say)
    except OSError as error:
        raise KernelUnavailable(f"there is no folder that the kernel could be built in: {error}") from None


def _build_locked(compiler: Compiler, source: Path, march: str, path: Path, say: Say) -> Path:
    """Build unless somebody else has done it meanwhile. A builder that dies lets go of the lock."""
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        say("Waiting for another process that builds the CPU kernel …")
        held = lock.acquire()
    with held:
        if not _good(path):
            for left in path.parent.glob(f".{path.stem}-*.tmp"):
                left.unlink(missing_ok=True)  # by a builder that was killed: we hold its lock
            compile_kernel(compiler, source, march, path, say)
            write_checksum(path)
    return path


def _private_folder() -> Path:
    if not _PRIVATE:
        folder = tempfile.mkdtemp(prefix="rnnlab-kernel-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _PRIVATE.append(Path(folder))
    return _PRIVATE[0]


def key(*, source: str, flags: tuple[str, ...], compiler: str, torch: str, cpu: str) -> str:
    """Sixteen hexadecimal digits over everything that decides what a build gives."""
    text = "\0".join((source, *flags, compiler, torch, cpu))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def cpu() -> str:
    """The processor: its model and what it can do."""
    wanted = ("vendor_id", "model name", "flags", "Features", "CPU implementer", "CPU part")
    lines: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                lines.setdefault(name.strip(), value.strip())
    return "\n".join(f"{k}: {v}" for k, v in lines.items()) or f"{platform.machine()} {platform.processor()}"


def _name(compiler: Compiler, source: Path, march: str) -> str:
    digits = key(
        source=source_hash(source),
        flags=(*FLAGS, f"-march={march}"),
        compiler=compiler.identity,
        torch=importlib.metadata.version("torch"),
        cpu=cpu(),
    )
    return f"kernel-{digits}.so"


def _good(path: Path) -> bool:
    """Whether a library is there, as we built it: a truncated one would not raise but crash."""
    try:
        if _open_to_others(path.parent) or _open_to_others(path):
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == _checksum_file(path).read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _open_to_others(path: Path) -> str | None:
    """Why a user other than us and root could have put there what is there; None where nobody could."""
    if not hasattr(os, "getuid"):
        return None
    status = path.stat()
    if status.st_uid not in (0, os.getuid()):
        return "it belongs to another user"
    return "others may write to it" if status.st_mode & 0o022 else None


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def write_checksum(path: Path) -> None:
    """Say that the library is whole: from now on it is found."""
    temporary = path.with_name(f".{path.stem}-checksum.tmp")
    temporary.write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    temporary.chmod(0o644)
    temporary.replace(_checksum_file(path))


def forget(path: Path) -> None:
    """Have the library built again."""
    with suppress(OSError):
        _checksum_file(path).unlink()
