"""Processes of this machine that are reused from job to job. One that dies is replaced; its job alone is lost."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from rnnlab.sweep.work import start_process


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(jobs: int, at_once: int | None, cores: int) -> tuple[int, int]:
    """How many jobs run at the same time, and with how many threads each: together never more than the cores.

    Args:
        jobs: that there are to do.
        at_once: what the user wants; None for as many as there are cores, since a thread more gains less than a job.
        cores: of the machine.
    """
    slots = min(jobs, at_once or cores)
    return slots, max(1, cores // slots)


class WorkerDiedError(Exception):
    """The process ended in the middle of a call; the argument is its exit code."""


class LocalPool:
    """See `Backend`. A thread per process hands it one call after the other, through a pipe that no other process has.

    Args:
        slots: processes.
        threads: of each.
        retries: of a job whose process died. 0 here: what killed it, mostly a lack of memory, is still there.
    """

    def __init__(self, *, slots: int, threads: int, retries: int = 0) -> None:
        self.slots, self.threads, self.retries, self.composers = slots, threads, retries, 2 * slots
        # Not forked: a fork of a process with threads may hang. Not a pipe of ours to write to: its end is the message.
        self._context = multiprocessing.get_context("spawn")
        self._reader, self._writer = self._context.Pipe(duplex=False)
        self._callers = ThreadPoolExecutor(slots)
        self._of_thread = threading.local()
        self._lock = threading.Lock()  # one thread at a time asks multiprocessing for a process or its exit code
        self._processes: list[SpawnProcess] = []
        self._closed = False

    def describe(self) -> str:
        return f"{self.slots} at a time with {self.threads} thread(s) each"

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        with _without_ctrl_c():
            return self._callers.submit(self._call, function, arguments)

    def death(self, error: BaseException) -> str | None:
        if isinstance(error, BrokenProcessPool):
            return "its worker died before it could begin"
        if not isinstance(error, WorkerDiedError):
            return None
        (code,) = error.args
        if code >= 0:
            return f"its worker ended with status {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its worker was killed ({name}{', lack of memory?' if -code == signal.SIGKILL else ''})"

    def stop(self) -> None:
        self._writer.close()

    def close(self, *, at_once: bool) -> None:
        self._writer.close()
        with self._lock:
            self._closed = True
            if at_once:
                self._kill()
        self._callers.shutdown(cancel_futures=True)
        self._kill()
        for process in self._processes:
            process.join()
        self._reader.close()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """In one of our threads: have its process make the call."""
        if getattr(self._of_thread, "process", None) is None:
            self._of_thread.process, self._of_thread.pipe = self._start()
        process, pipe = self._of_thread.process, self._of_thread.pipe
        try:
            pipe.send((function, arguments))
            result, error = pipe.recv()
        except (EOFError, OSError):
            self._of_thread.process = None
            raise WorkerDiedError(self._bury(process, pipe)) from None
        if error is not None:
            raise error
        return result

    def _start(self) -> tuple[SpawnProcess, Connection]:
        pipe, theirs = self._context.Pipe()
        with self._lock, theirs:
            if self._closed:
                raise BrokenProcessPool
            process = self._context.Process(target=_serve, args=(theirs, self._reader, self.threads))
            with _modules_from_elsewhere():
                process.start()
            self._processes.append(process)
        try:
            pipe.recv()
        except (EOFError, OSError):
            self._bury(process, pipe)
            raise BrokenProcessPool from None
        return process, pipe

    def _bury(self, process: SpawnProcess, pipe: Connection) -> int:
        pipe.close()
        with self._lock:
            process.join()
            self._processes.remove(process)
            code = process.exitcode or 0
            process.close()
        return code


def _serve(pipe: Connection, stop: Connection, threads: int) -> None:
    """What a process does: say that it has begun, then one call after the other until the parent is gone."""
    start_process(stop, threads)
    pipe.send(None)
    while True:
        try:
            function, arguments = pipe.recv()
            answer: tuple[Any, Exception | None] = function(*arguments), None
        except EOFError:
            return
        except Exception as error:
            answer = None, error
        pipe.send(answer)


@contextmanager
def _modules_from_elsewhere() -> Iterator[None]:
    """Python begins in a process started here without looking for modules in the current folder; see import_path."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes and threads started here do not get a terminal's Ctrl-C: the parent does, and tells them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
