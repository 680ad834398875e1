"""Compilers: those that are here, and one's call for the kernel. Imports no torch."""

import functools
import hashlib
import importlib.util
import os
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

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread")
# Some compilers know `native` by another name on some processors, or not at all.
NATIVE = (("-march=native",), ("-mcpu=native",), ())
SECONDS = 5
"""What a build takes, about (2 vCPU, g++ 12)."""
TIMEOUT_S = 600

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


def compile_kernel(compiler: Compiler, source: Path, march: str, target: Path, say: Say) -> None:
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
