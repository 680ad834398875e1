"""Processes forked from one that has imported torch: they begin at once, where `python -m` takes four CPU seconds.

A test that needs another process (to kill it, to lock it out, to read what it says) takes one of these. What they
cannot show is how Python itself starts: what is imported and when, which variables of the environment are read at that
time, limits, `python -X`. That takes a fresh one (`helpers.start`).

A nursery has imported torch, Hydra and rnnlab, and done nothing with them. It forks whenever it is asked, and its
children come to be those of whoever has asked: pid, signals, exit status and groups are as with any child. A sweep that
was begun so has a nursery of its own, forked from the first, from which its workers come.

Linux alone; elsewhere, and where the environment differs in what may be read at an import, a process is begun afresh.
"""

import atexit
import builtins
import contextlib
import ctypes
import fcntl
import gc
import importlib
import inspect
import io
import os
import pickle
import pkgutil
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing import popen_spawn_posix, util
from typing import Any

import rnnlab  # first: it sets a variable of the environment

assert rnnlab

_HEADER = struct.Struct("q")
_SET_CHILD_SUBREAPER = 36  # of prctl
_BEGUN_WITH = dict(os.environ)
READ_LATE = {"PYTEST_CURRENT_TEST", "PYTHONUNBUFFERED", "TERM", "COLUMNS", "RNNLAB_COMPONENTS"}
READ_LATE |= {"HYDRA_FULL_ERROR", "TORCHINDUCTOR_CACHE_DIR"}  # which runs in this process have set
"""Variables that may differ from those that the nursery was begun with: nothing reads them while it is imported."""
GIVEN_TO_WORKERS = {"PYTHONPATH", "PYTHONSAFEPATH"}
"""Where modules are searched for, which multiprocessing tells a worker besides."""


class Nursery:
    """The asking side. `link` leads to the process that forks."""

    def __init__(self, link: socket.socket) -> None:
        self._link, self._lock = link, threading.Lock()

    def fork(
        self,
        command: Sequence[str],
        *,
        folder: str,
        environment: Mapping[str, str],
        files: Mapping[int, int],
        new_session: bool = False,
    ) -> int:
        """A child of this process that does what Python does with these arguments; its pid.

        Args:
            command: after the interpreter: -m MODULE or -c CODE, and its arguments.
            folder: its current one.
            environment: all of it.
            files: its open files, by their numbers there; here they have the other.
            new_session: whether it leads one.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        own = {signal.SIGPIPE, signal.SIGXFSZ}  # which Python ignores by itself
        deaf = [n for n in signal.valid_signals() - own if signal.getsignal(n) == signal.SIG_IGN]
        request = pickle.dumps(
            {
                "parent": os.getpid(),
                "command": [*command],
                "folder": folder,
                "environment": dict(environment),
                "files": [*files],
                "new_session": new_session,
                "mask": mask,
                "deaf": deaf,
            }
        )
        answer, told = os.pipe()
        with self._lock, _adopting(), open(answer, "rb") as answered:
            with open(told, "wb"):
                socket.send_fds(self._link, [_HEADER.pack(len(request))], [told, *files.values()])
                self._link.sendall(request)
            pid = answered.read()
        assert pid, "it ended before it had begun"
        return int(pid)

    def spawn(self, path: bytes, arguments: Sequence[Any], files: Sequence[int]) -> int:
        """In place of `multiprocessing.util.spawnv_passfds`."""
        command = [os.fsdecode(a) for a in arguments[1:] if os.fsdecode(a) != "-B"]  # writes no compiled modules
        if command[0] != "-c" or not fits(os.environ, GIVEN_TO_WORKERS):
            return util.spawnv_passfds(path, arguments, files)
        numbers = {n: n for n in (0, 1, 2, *map(int, files))}
        return self.fork(command, folder=os.getcwd(), environment=os.environ, files=numbers)

    def patched_util(self) -> types.SimpleNamespace:
        """For `multiprocessing.popen_spawn_posix.util`: workers come from here."""
        return types.SimpleNamespace(**{**vars(util), "spawnv_passfds": self.spawn})


class Forked(subprocess.Popen):
    """A `subprocess.Popen` whose process comes from a nursery."""

    def __init__(self, nursery: Nursery, command: Sequence[str], **options: Any) -> None:
        self._nursery = nursery
        super().__init__(command, **options)

    def _execute_child(self, *arguments: Any) -> None:
        given = inspect.signature(super()._execute_child).bind(*arguments).arguments
        pipes = [given[n] for n in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        theirs = (given["p2cread"], given["c2pwrite"], given["errwrite"])
        self.pid = self._nursery.fork(
            given["args"][1:],
            folder=os.path.abspath(given["cwd"] or "."),
            environment=os.environ if given["env"] is None else given["env"],
            files={number: number if file == -1 else file for number, file in enumerate(theirs)},
            new_session=given["start_new_session"],
        )
        self._child_created = True
        self._close_pipe_fds(*pipes)


def nursery() -> Nursery | None:
    """The one of this process, begun when it is asked for first; None where there can be none."""
    global _nursery
    if sys.platform != "linux":
        return None
    if _nursery is None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_BEGUN_WITH,
                cwd="/",
            )
        _nursery = Nursery(ours)
        atexit.register(_end_nursery, ours, process)
    return _nursery


def begin_with(environment: Mapping[str, str]) -> None:
    """The environment of a nursery that has not been asked for yet; else that of this module's import."""
    assert _nursery is None
    _BEGUN_WITH.clear()
    _BEGUN_WITH.update(environment)


def popen(command: Sequence[str], *, env: Mapping[str, str], **options: Any) -> subprocess.Popen:
    """A `subprocess.Popen` of this Python's: forked where that makes no difference."""
    found = nursery()
    if found is None or not fits(env):
        return subprocess.Popen(command, env=env, **options)
    return Forked(found, command, env=env, **options)


def fits(environment: Mapping[str, str], besides: set[str] = frozenset()) -> bool:
    """Whether a process with this environment would have imported what the nursery has."""
    differs = {name for name, _ in environment.items() ^ _BEGUN_WITH.items()}
    return differs <= READ_LATE | besides


_nursery: Nursery | None = None


def _end_nursery(link: socket.socket, process: subprocess.Popen) -> None:
    link.close()
    process.wait()


@contextlib.contextmanager
def _adopting():
    """Orphans among our descendants become our children."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _received(link: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = link.recv(size - len(content))
        if not part:
            raise EOFError("the nursery has ended")
        content += part
    return content


def main() -> None:
    """A nursery, and in each of its children the program that was asked for."""
    link = socket.socket(fileno=int(sys.argv[1]))
    del sys.path[0]  # this file's folder
    _import_all()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the children
    gc.collect()
    gc.freeze()
    request, answer, files = _serve(link)  # from here on in a child
    kept = [answer]
    if "-m" in request["command"][2:]:  # a sweep, which has workers
        ours, theirs = socket.socketpair()
        if os.fork():
            theirs.close()
            kept += [ours.detach()]
        else:
            for number in (answer, *files, ours.detach()):
                os.close(number)
            request, answer, files = _serve(theirs)
            kept = [answer]
    answer, *nursery = _take_files(dict(zip(request["files"], files, strict=True)), kept)
    if nursery:
        popen_spawn_posix.util = Nursery(socket.socket(fileno=nursery[0])).patched_util()
    _take_surroundings(request)
    while os.getppid() != request["parent"]:
        time.sleep(0.0005)
    with open(answer, "w") as told:
        told.write(str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])
    try:
        _run(*request["command"])
        status = 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        status = end.code or 0
    _end(status)


def _import_all() -> None:
    """Every module of rnnlab, and what a run imports besides."""
    import hydra._internal.core_plugins
    import numpy.random
    import rich._emoji_codes
    import torch._dynamo  # which the first optimiser imports
    import torch.utils.tensorboard

    import hydra_plugins

    assert numpy.random
    assert rich._emoji_codes
    assert torch._dynamo
    assert torch.utils.tensorboard
    for package in (rnnlab, hydra._internal.core_plugins, hydra_plugins):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith(".__main__"):
                with contextlib.suppress(ImportError):  # of what is not installed
                    importlib.import_module(module.name)


def _serve(link: socket.socket) -> tuple[dict[str, Any], int, list[int]]:
    """Fork for each request. Comes back in the children alone, with the request, where to answer, and its files."""
    while True:
        header, files, *_ = socket.recv_fds(link, _HEADER.size, 64)
        if not header:  # who asked has ended
            os._exit(0)
        request = pickle.loads(_received(link, *_HEADER.unpack(header)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of OpenBLAS, which knows of forks
            between = os.fork()
            if between == 0:
                if os.fork():
                    os._exit(0)  # whose child becomes one of who has asked
                link.close()
                return request, files[0], files[1:]
        os.waitpid(between, 0)
        for number in files:
            os.close(number)


def _take_files(files: dict[int, int], kept: list[int]) -> list[int]:
    """Have those files under these numbers, and no others but `kept`, whose new numbers come back."""
    beyond = max([*files, *files.values(), *kept]) + 1
    copies = {number: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, beyond) for number, file in files.items()}
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, beyond) for file in kept]
    for number, copy in copies.items():
        os.dup2(copy, number)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in files and number not in moved:
            with contextlib.suppress(OSError):  # of the listing itself
                os.close(number)
    return moved


def _take_surroundings(request: dict[str, Any]) -> None:
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in request["deaf"]:
        signal.signal(number, signal.SIG_IGN)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(number: int, like: Any) -> io.TextIOWrapper:
    """One of the standard streams, as Python opens it."""
    at_once = number > 0 and bool(os.environ.get("PYTHONUNBUFFERED"))
    file = open(number, "wb" if number else "rb", 0 if at_once else -1, closefd=False)  # noqa: SIM115
    getattr(file, "raw", file).name = like.name
    lines = not at_once and (number == 2 or os.isatty(number))
    return io.TextIOWrapper(file, like.encoding, like.errors, line_buffering=lines, write_through=at_once)


def _run(option: str, program: str, *arguments: str) -> None:
    """What `python -m PROGRAM` or `python -c PROGRAM` does."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__builtins__ = builtins
    sys.argv = [option, *arguments]
    if not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, os.getcwd() if option == "-m" else "")
    if option == "-m":
        runpy._run_module_as_main(program)
    else:
        exec(compile(program, "<string>", "exec"), main.__dict__)


def _end(status: int) -> None:
    """As Python ends, but for clearing what the nursery has imported, which copies all of it."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
