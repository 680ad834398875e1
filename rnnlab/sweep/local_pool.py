"""Processes of this machine that are reused from job to job. One that dies is replaced; its job alone is lost."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from rnnlab.entrance import STATUS
from rnnlab.interruption import SIGNALS
from rnnlab.sweep.backend import Death
from rnnlab.sweep.job import JobOutcome
from rnnlab.sweep.search_path import modules_from_elsewhere
from rnnlab.sweep.work import describe, start_process

MOST_PER_CORE = 8
"""Jobs at the same time, whatever a user asks for: more only take each other's memory."""


def share(jobs: int, at_once: int | None, cores: int) -> tuple[int, int]:
    """How many jobs run at the same time, and with how many threads each: together never more than the cores.

    Args:
        jobs: that there are to do.
        at_once: what the user wants; None for as many as there are cores, since a thread more gains less than a job.
        cores: of the machine.
    """
    slots = min(jobs, at_once or cores, MOST_PER_CORE * cores)
    return slots, max(1, cores // slots)


class WorkerDiedError(Exception):
    """Its argument is a `Death`."""


@dataclass(eq=False)
class _Worker:
    """A process, and our end of the pipe through which it is given calls and answers."""

    process: SpawnProcess
    pipe: Connection


class LocalPool:
    """See `Backend`. A thread per call hands it to a process, through a pipe that no other process has.

    Args:
        slots: processes.
        threads: of each.
        retries: of a job whose process crashed. 0 here: it would crash again.
    """

    def __init__(self, *, slots: int, threads: int, retries: int = 0) -> None:
        self.slots, self.threads, self.retries, self.composers = slots, threads, retries, 2 * slots
        # Not forked: a fork of a process with threads may hang. Not a pipe of ours to write to: its end is the message.
        self._context = multiprocessing.get_context("spawn")
        with modules_from_elsewhere():
            resource_tracker.ensure_running()  # which it would be with the first process, with signals unblocked
        self._reader, self._writer = self._context.Pipe(duplex=False)
        self._callers = ThreadPoolExecutor(slots)
        self._lock = threading.RLock()  # one thread at a time asks multiprocessing for a process or its exit code
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._closed = False

    def describe(self) -> str:
        return f"{self.slots} at a time with {self.threads} thread(s) each"

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        return self._callers.submit(self._call, function, arguments)

    def death(self, error: BaseException) -> Death | None:
        return error.args[0] if isinstance(error, WorkerDiedError) else None

    def shrink(self) -> bool:
        with self._lock:
            if self.slots == 1:
                return False
            self.slots -= 1
            while self._idle and len(self._workers) > self.slots:
                self._dismiss(self._idle.pop())
            return True

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
        for worker in [*self._workers]:
            self._bury(worker)
        self._reader.close()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.process.kill()

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """In one of our threads: have a process make the call."""
        worker = self._given((function, arguments))
        try:
            result, error = worker.pipe.recv()
        except (EOFError, OSError):
            raise WorkerDiedError(_death(self._bury(worker))) from None
        with self._lock:
            if len(self._workers) > self.slots:
                self._dismiss(worker)
            else:
                self._idle.append(worker)
        if error is not None:
            raise error
        return result

    def _given(self, call: tuple[Any, ...]) -> _Worker:
        """A process that has taken the call. One that died while it had nothing to do is replaced; no job is lost."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            fresh = worker is None
            worker = worker or self._start()
            try:
                worker.pipe.send(call)
                worker.pipe.recv()
                return worker
            except (EOFError, OSError):
                code = self._bury(worker)
                if fresh:
                    raise WorkerDiedError(_death(code, begun=False)) from None

    def _start(self) -> _Worker:
        pipe, theirs = self._context.Pipe()
        with self._lock, theirs:
            if self._closed:
                raise WorkerDiedError(Death("was not begun: the sweep ends", begun=False))
            process = self._context.Process(target=_serve, args=(theirs, self._reader, self.threads))
            try:
                with modules_from_elsewhere(), _without_ctrl_c():
                    process.start()
            except OSError as error:  # no memory, or too many processes
                raise WorkerDiedError(Death(f"cannot be started ({error.strerror})", begun=False)) from None
            worker = _Worker(process, pipe)
            self._workers.append(worker)
        try:
            pipe.recv()
        except (EOFError, OSError):
            raise WorkerDiedError(_death(self._bury(worker), begun=False)) from None
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        """End a process that has nothing to do."""
        worker.process.kill()
        self._bury(worker)

    def _bury(self, worker: _Worker) -> int:
        """The exit code of a process that is dead, or about to be."""
        worker.pipe.close()
        with self._lock:
            worker.process.join()
            self._workers.remove(worker)
            code = worker.process.exitcode or 0
            worker.process.close()
        return code


def _death(code: int, *, begun: bool = True) -> Death:
    when = "" if begun else " before it could begin"
    if code >= 0:
        how = "was interrupted" if code == STATUS else f"ended with status {code}"
        return Death(f"{how}{when}", begun, asked=code == STATUS)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    starved = name == "SIGKILL"
    return Death(f"was killed ({name}{', lack of memory?' if starved else ''}){when}", begun, -code in SIGNALS, starved)


def _serve(pipe: Connection, stop: Connection, threads: int) -> None:
    """What a process does: say that it has begun, then one call after the other until the parent is gone.

    One that was interrupted in its job ends after it, as whoever interrupted it wants.
    """
    start_process(stop, threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    pipe.send(None)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(None)
        result, error = _answer(function, arguments)
        try:
            pipe.send((result, error))
        except Exception as unsent:  # an exception that cannot be sent
            pipe.send((None, RuntimeError(describe(error or unsent))))
        if isinstance(result, JobOutcome) and result.status == "interrupted":
            return


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error
    except BaseException as error:  # raised again by our parent, it would end the sweep
        return None, RuntimeError(describe(error))


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started here does not get a terminal's Ctrl-C until it is at work."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
