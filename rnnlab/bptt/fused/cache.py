"""The cache of compiled kernels. Imports no torch.

A library is found by a hash over everything that decides what the compiler makes: source, flags, compiler, torch and
CPU. It lies beside its checksum, because loading a damaged one can kill the process; and as loading it runs it, a cache
that other users can write to is not used.
"""

import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rnnlab.bptt.fused.compiler import FLAGS, Compiler, Say, announced, compile_kernel, source_hash
from rnnlab.bptt.fused.folders import LEFT_BEHIND, cause, workplace


class CacheError(Exception):
    """The kernel cannot be kept in the cache; the text says where and why: `FOLDER (CAUSE)`."""


def cache_folder() -> Path:
    """`$RNNLAB_CACHE`, else `$XDG_CACHE_HOME/rnnlab`, else `~/.cache/rnnlab`.

    Raises:
        CacheError: it depends on a folder that is not known.
    """
    own, users = os.environ.get("RNNLAB_CACHE"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = os.path.expanduser(own or os.path.join(users, "rnnlab"))
    if name.startswith("~"):
        raise CacheError(f"{name} (there is no such home folder)")
    try:
        return Path(name).absolute()
    except OSError as error:
        raise CacheError(f"{name} ({cause(error)})") from None


def find(compiler: Compiler, source: Path, march: str) -> Path | None:
    """The library in the cache, where there is a good one."""
    with suppress(CacheError):
        path = cache_folder() / _name(compiler, source, march)
        return path if _good(path) else None


def keep(compiler: Compiler, source: Path, march: str, say: Say) -> Path:
    """The library in the cache; built, unless somebody else has done it meanwhile.

    Raises:
        CacheError: it cannot be kept there.
        KernelUnavailable: the compiler does not compile it.
    """
    folder = cache_folder()
    path = folder / _name(compiler, source, march)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if reason := _open_to_others(folder):
            raise PermissionError(reason)
        with _locked(folder, say):
            if not _good(path):
                _remove_left_behind(folder)
                _build(compiler, source, march, path, say)
    except OSError as error:
        raise CacheError(f"{folder} ({cause(error)})") from None
    return path


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of the cache, which a builder that dies lets go of.

    By the system's own call: where a file system has no locks, filelock, depending on its version, waits for ever or
    makes do with a file that the dead leave behind.
    """
    import fcntl  # not at the top: Windows has none

    with (folder / "kernel.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another process that builds the CPU kernel …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_left_behind(folder: Path) -> None:
    """What builders left who were killed with all that watched over them: we hold their lock."""
    for left in folder.glob(LEFT_BEHIND):
        shutil.rmtree(left, ignore_errors=True)


def _build(compiler: Compiler, source: Path, march: str, path: Path, say: Say) -> None:
    """Build beside `path` and move it there: whoever looks finds all of it or nothing."""
    with workplace(path.parent) as folder, announced(compiler, say, path):
        built = folder / path.name
        compile_kernel(compiler, source, march, built)
        write_checksum(built)
        built.replace(path)
        _checksum_file(built).replace(_checksum_file(path))


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
    """Say that the library is whole: with it, it is found."""
    file = _checksum_file(path)
    file.write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    file.chmod(0o644)


def forget(path: Path) -> None:
    """Have the library built again.

    Raises:
        CacheError: nothing can be changed there.
    """
    try:
        _checksum_file(path).unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"{path.parent} ({cause(error)})") from None


def give_up(path: Path) -> None:
    """Note that this library, though newly built, cannot be loaded: it would be built at every start."""
    with suppress(OSError):
        _note(path).write_text(_checksum_file(path).read_text())


def given_up(path: Path) -> bool:
    """Whether that was noted of this library."""
    try:
        return _note(path).read_text() == _checksum_file(path).read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _note(path: Path) -> Path:
    return path.with_suffix(".unloadable")
