"""Processes of this machine that are reused from job to job. One that dies is replaced; its job alone is lost."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

from pebble import ProcessExpired, ProcessPool

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


class LocalPool:
    """See `Backend`.

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
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.slots,
            context=self._context,  # type: ignore[arg-type]
            initializer=start_process,
            initargs=(self._reader, self.threads),
        )

    def describe(self) -> str:
        return f"{self.slots} at a time with {self.threads} thread(s) each"

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        if not self._pool.active:
            self._end(self._pool)
            self._pool = self._new_pool()
        with _without_ctrl_c():
            return self._pool.schedule(function, args=arguments)

    def death(self, error: BaseException) -> str | None:
        if isinstance(error, BrokenProcessPool):
            return "its worker died before it could begin"
        if not isinstance(error, ProcessExpired):
            return None
        code = error.exitcode or 0
        if code >= 0:
            return f"its worker ended with status {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its worker was killed ({name}{', lack of memory?' if -code == signal.SIGKILL else ''})"

    def stop(self) -> None:
        self._writer.close()

    def close(self, *, at_once: bool) -> None:
        self._writer.close()
        if at_once:
            for process in multiprocessing.active_children():
                process.kill()
        self._end(self._pool)

    @staticmethod
    def _end(pool: ProcessPool) -> None:
        with suppress(RuntimeError):
            pool.stop()
            pool.join()


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes and threads started here do not get a terminal's Ctrl-C: the parent does, and tells them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
