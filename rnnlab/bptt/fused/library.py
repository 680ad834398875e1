"""The kernel as a library: one C++ file, compiled once for a machine and found again by a hash. Imports no torch.

The hash is over everything that decides what the compiler makes: source, flags, compiler, torch and CPU. A library lies
in the cache beside its checksum, because loading a damaged one can kill the process; and as loading it runs it, a cache
that other users can write to is not used.
"""

import atexit
import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

SOURCE = Path(__file__).with_name("kernel.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread")
# Some compilers know `native` by another name on some processors, or not at all.
NATIVE = (("-march=native",), ("-mcpu=native",), ())
SECONDS = 5
"""What a build takes, about (2 vCPU, g++ 12)."""
TIMEOUT_S = 600
_PRIVATE: list[Path] = []
"""This process's own folder, once it was needed: the runs of a sweep then build once all the same."""

Say = Callable[[str], None]


class KernelUnavailable(Exception):  # noqa: N818  (it says a state of things, often no error)
    """There is no kernel here; the text is a clause that says why.

    output: what the compiler wrote, where it was the compiler.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.output = output


class NoCompiler(KernelUnavailable):
    """Nobody named a compiler, and none was found."""


@dataclass(frozen=True)
class Compiler:
    """A command that compiles C++, and the text that tells it from others.

    name: as a user would call it.
    seconds: about how long the kernel takes; for the message only.
    """

    command: tuple[str, ...]
    name: str
    identity: str
    seconds: int


def load(say: Say, source: Path = SOURCE) -> ctypes.CDLL:
    """The kernel, from `RNNLAB_KERNEL`, from the cache, or built now.

    Args:
        say: is told what takes time: before a build and after it.
        source: the C++ file.
    Raises:
        KernelUnavailable: with the reason.
    """
    expected = source_hash(source)
    given = os.environ.get("RNNLAB_KERNEL")
    if given:
        return _load_given(Path(given).absolute(), expected)
    path = build(say, source=source)
    try:
        return _opened(path, expected)
    except OSError:
        _forget(path)  # whole, and yet not to be loaded: made where another C library is, say
    try:
        return _opened(build(say, source=source), expected)
    except OSError as error:
        raise KernelUnavailable(f"the library that was built cannot be loaded: {error}") from None


def build(say: Say, *, source: Path = SOURCE, march: str = "native", output: Path | None = None) -> Path:
    """The path of the compiled kernel, which is compiled where the cache does not hold it.

    Args:
        march: what `-march=` gets; `native` is this machine's processor.
        output: where the library goes, instead of the cache; compiled in any case.
    Raises:
        KernelUnavailable: nobody could compile it.
        OSError: `output` cannot be written.
    """
    compilers, failure = [], None
    for compiler in _compilers():
        found = None if output else _find(compiler, source, march)
        if found:
            return found
        compilers.append(compiler)
    for compiler in compilers:
        try:
            if output:
                _compile(compiler, source, march, output, say)
                return output
            return _build_in_cache(compiler, source, march, say)
        except KernelUnavailable as error:
            failure = failure or error
    raise failure or NoCompiler(f"no C++ compiler was found (CXX, {', '.join(COMPILERS)})")


def cache_folder() -> Path:
    """`$RNNLAB_CACHE`, else `$XDG_CACHE_HOME/rnnlab`, else `~/.cache/rnnlab`."""
    if os.environ.get("RNNLAB_CACHE"):
        return Path(os.environ["RNNLAB_CACHE"]).absolute()
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]).absolute() / "rnnlab"
    return Path(os.path.expanduser("~/.cache/rnnlab")).absolute()


def source_hash(source: Path) -> str:
    """What a library says it was built from."""
    try:
        return hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise KernelUnavailable(f"the kernel's source cannot be read: {error}") from None


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


# --- Compilers --------------------------------------------------------------------------------------------------------


def _compilers() -> Iterator[Compiler]:
    """Those that are here, the preferred one first; the same program under two names once."""
    given = os.environ.get("CXX")
    if given:
        yield _given_compiler(given)
        return
    seen = set()
    for name in COMPILERS:
        path = shutil.which(name)
        if path and os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            identity = _identity((path,))
            if identity:
                yield Compiler((path,), name, identity, SECONDS)
    if importlib.util.find_spec("ziglang"):
        command = (sys.executable, "-m", "ziglang", "c++")
        identity = _identity(command)
        if identity:
            yield Compiler(command, "ziglang", identity, 12 * SECONDS)  # at first it compiles a standard library too


def _given_compiler(given: str) -> Compiler:
    try:
        command = tuple(shlex.split(given))
    except ValueError as error:
        raise KernelUnavailable(f"CXX={given} cannot be read as a command: {error}") from None
    path = shutil.which(command[0]) if command else None
    identity = _identity((path, *command[1:])) if path else None
    if path is None or identity is None:
        raise KernelUnavailable(f"CXX={given} is no compiler that can be run here")
    return Compiler((path, *command[1:]), " ".join((Path(path).name, *command[1:])), identity, SECONDS)


@functools.cache
def _identity(command: tuple[str, ...]) -> str | None:
    """Path and version; None where the command does not run."""
    status, text = _run([*command, "--version"], timeout=60)
    return None if status else f"{' '.join(command)}\n{text}"


def _compile(compiler: Compiler, source: Path, march: str, target: Path, say: Say) -> None:
    """Compile into a name of its own and move it to `target`: whoever looks there finds all of it or nothing."""
    say(f"Building the CPU kernel, once for this machine (about {compiler.seconds} s) …")
    start = time.monotonic()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=".tmp", dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        status, text = 1, ""
        for machine in NATIVE if march == "native" else ((f"-march={march}",),):
            define = f'-DRNNLAB_SOURCE_HASH="{source_hash(source)}"'
            command = [*compiler.command, *FLAGS, *machine, define, str(source), "-o", str(temporary)]
            status, text = _run(command, timeout=TIMEOUT_S)
            if status == 0 or not ("march" in text or "mcpu" in text):
                break
        if status:
            line = _first_error(text).replace(f"{source.parent}{os.sep}", "")
            raise KernelUnavailable(f"{compiler.name} could not compile the kernel: {line}", text)
        temporary.chmod(0o755)  # mkstemp's files are for their owner alone, and a cache may be shared
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    say(f"The CPU kernel is built ({time.monotonic() - start:.1f} s): {target}")


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it gave no reason")


def _run(command: list[str], *, timeout: int) -> tuple[int, str]:
    """(exit status, what it wrote) of a program in a session of its own, which Ctrl-C does not reach.

    A first Ctrl-C only asks the run to stop soon; were it to end the compiler, the run would take another engine.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return 127, str(error)
    try:
        written, _ = process.communicate(timeout=timeout)
        return process.returncode, written.decode("utf-8", errors="replace")
    except subprocess.TimeoutExpired:
        return 124, f"it took longer than {timeout} s"
    finally:
        if process.poll() is None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # the compiler's own children too
            process.communicate()


# --- The cache --------------------------------------------------------------------------------------------------------


def _name(compiler: Compiler, source: Path, march: str) -> str:
    digits = key(
        source=source_hash(source),
        flags=(*FLAGS, f"-march={march}"),
        compiler=compiler.identity,
        torch=importlib.metadata.version("torch"),
        cpu=cpu(),
    )
    return f"kernel-{digits}.so"


def _find(compiler: Compiler, source: Path, march: str) -> Path | None:
    """The library in the cache, or in this process's own folder, where there is a good one."""
    paths = [folder / _name(compiler, source, march) for folder in (cache_folder(), *_PRIVATE)]
    return next((path for path in paths if _good(path)), None)


def _build_in_cache(compiler: Compiler, source: Path, march: str, say: Say) -> Path:
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
            _compile(compiler, source, march, path, say)
            _write_checksum(path)
    return path


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _write_checksum(path: Path) -> None:
    temporary = path.with_name(f".{path.stem}-checksum.tmp")
    temporary.write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    temporary.chmod(0o644)
    temporary.replace(_checksum_file(path))


def _open_to_others(path: Path) -> str | None:
    """Why a user other than us and root could have put there what is there; None where nobody could."""
    if not hasattr(os, "getuid"):
        return None
    status = path.stat()
    if status.st_uid not in (0, os.getuid()):
        return "it belongs to another user"
    return "others may write to it" if status.st_mode & 0o022 else None


def _good(path: Path) -> bool:
    """Whether a library is there, as we built it: a truncated one would not raise but crash."""
    try:
        if _open_to_others(path.parent) or _open_to_others(path):
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == _checksum_file(path).read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _forget(path: Path) -> None:
    with suppress(OSError):
        _checksum_file(path).unlink()


def _private_folder() -> Path:
    if not _PRIVATE:
        folder = tempfile.mkdtemp(prefix="rnnlab-kernel-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _PRIVATE.append(Path(folder))
    return _PRIVATE[0]


# --- Loading ----------------------------------------------------------------------------------------------------------


def _opened(path: Path, expected: str) -> ctypes.CDLL:
    """The library; OSError where it cannot be loaded or is another.

    Another is not even opened: for the rest of the process the system would give it again under this path.
    """
    if expected.encode() not in path.read_bytes():
        raise OSError(f"{path} was built from another source than {expected}")
    return ctypes.CDLL(str(path))


def _source_of(library: ctypes.CDLL) -> str | None:
    try:
        function = library.rnnlab_kernel_source
    except AttributeError:
        return None
    function.restype = ctypes.c_char_p
    told = function()
    return told.decode("ascii", errors="replace") if told else None


def _load_given(path: Path, expected: str) -> ctypes.CDLL:
    if not path.is_file():
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} is no file")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} cannot be loaded: {error}") from None
    told = _source_of(library)
    if told is None:
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} is not this kernel: it does not say what it was built from")
    if told != expected:
        raise KernelUnavailable(
            f"RNNLAB_KERNEL={path} was built from another version of the source ({told}; this is {expected}); "
            "build it again with python -m rnnlab.bptt.fused.build"
        )
    return library
