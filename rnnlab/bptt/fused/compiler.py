"""Compilers: those that are here, and one's call for the kernel. Imports no torch."""

import errno
import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread")
# Some compilers know `native` by another name on some processors, or not at all.
NATIVE = (("-march=native",), ("-mcpu=native",), ())
SECONDS = 5
"""What a build takes, about (2 vCPU, g++ 12)."""
TIMEOUT_S = 600
WATCHED = Path(__file__).with_name("watched.py")
FAULTS_OF_A_FOLDER = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.EIO)
"""What a compiler may say that another folder would help against."""
CONSEQUENCES = ("ld returned", "linker command failed")
"""What a compiler says when its linker has said why."""

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


def compilers() -> Iterator[Compiler]:
    """Those that are here, the preferred one first; the same program under two names once."""
    if not hasattr(os, "fork"):
        raise KernelUnavailable("it is built on Linux and macOS alone")
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
        command = (sys.executable, "-P", "-m", "ziglang", "c++")  # -P: not one that lies in the current folder
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


def source_hash(source: Path) -> str:
    """What a library says it was built from."""
    try:
        return hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise KernelUnavailable(f"the kernel's source cannot be read: {error}") from None


@contextmanager
def announced(compiler: Compiler, say: Say, kept: Path | None = None) -> Iterator[None]:
    """Tell of a build before and after it.

    Args:
        kept: where the library will be found from now on.
    """
    say(f"Building the CPU kernel{', once for this machine' if kept else ''} (about {compiler.seconds} s) …")
    start = time.monotonic()
    yield
    say(f"The CPU kernel is built ({time.monotonic() - start:.1f} s){f': {kept}' if kept else ''}")


def compile_kernel(compiler: Compiler, source: Path, march: str, target: Path) -> None:
    """Compile.

    Args:
        target: the library, in a folder of its own: there go the compiler's temporary files too, and it is removed
            should this process be killed.
    Raises:
        KernelUnavailable: the compiler does not compile it.
        OSError: it would, with another folder.
    """
    status, text = 1, ""
    for machine in NATIVE if march == "native" else ((f"-march={march}",),):
        define = f'-DRNNLAB_SOURCE_HASH="{source_hash(source)}"'
        command = [*compiler.command, *FLAGS, *machine, define, str(source), "-o", str(target)]
        status, text = _run_watched(command, target.parent)
        if status == 0 or not ("march" in text or "mcpu" in text):
            break
    if status:
        for number in FAULTS_OF_A_FOLDER:
            if os.strerror(number) in text:
                raise OSError(number, os.strerror(number))
        line = _first_error(text).replace(f"{source.parent}{os.sep}", "")
        raise KernelUnavailable(f"{compiler.name} could not compile the kernel: {line}", text)
    target.chmod(0o755)  # whatever the umask: a cache may be shared


def _first_error(text: str) -> str:
    """The line that tells most: what went wrong first, before what came of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not any(words in line for words in CONSEQUENCES)] or lines
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it gave no reason")


def _run_watched(command: list[str], folder: Path) -> tuple[int, str]:
    """As `_run`; but when this process is killed, the program is too, and the folder of its files removed."""
    read_end, write_end = os.pipe()
    try:
        watched = [sys.executable, "-S", "-P", str(WATCHED), str(folder), *command]
        return _run(watched, timeout=TIMEOUT_S, stdin=read_end, temporary=folder)
    finally:
        os.close(read_end)
        os.close(write_end)


def _run(
    command: list[str], *, timeout: int, stdin: int = subprocess.DEVNULL, temporary: Path | None = None
) -> tuple[int, str]:
    """(exit status, what it wrote) of a program in a session of its own, which Ctrl-C does not reach.

    A first Ctrl-C only asks the run to stop soon; were it to end the compiler, the run would take another engine.

    Args:
        temporary: the folder for its temporary files.
    """
    environment = {**os.environ, "LC_ALL": "C", **({"TMPDIR": str(temporary)} if temporary else {})}
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
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
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # the program's own children, and who watches over it
        process.communicate()
