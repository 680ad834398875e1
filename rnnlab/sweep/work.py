"""What a worker does with a job. The same function serves a process of this machine, of Ray and of Slurm."""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rnnlab.config import Config
from rnnlab.contract import ConfigError, InUseError, RunError, without_stack
from rnnlab.entrance import keep_output
from rnnlab.interruption import listening, wish
from rnnlab.memory.lack import lacks_memory
from rnnlab.messages import told
from rnnlab.packages import admit
from rnnlab.runs.folder import LOG
from rnnlab.runs.safe_files import open_regular, visible
from rnnlab.sweep.job import JobOutcome, objective

_stopping = threading.Event()
_idle = threading.Event()
_idle.set()
SECONDS_FOR_A_CHECKPOINT = 60.0
"""A worker whose parent is gone ends after so long, whatever its job is at."""


def perform(config: Config, expected: Path | None = None) -> JobOutcome:
    """One run, its output in its folder; the outcome tells what went wrong instead of an exception.

    Args:
        expected: the folder that the sweep takes this run's to be.
    """
    _idle.clear()
    try:
        with listening() as interrupted:
            if _stopping.is_set():
                wish()
            admit(config.allowed_packages)
            from rnnlab.training.run import run

            folder = run(config, interrupted, logged, expected)
            return JobOutcome("finished", objective=objective(folder))
    except KeyboardInterrupt as error:
        reason, _, _ = " ".join(str(error).split()).partition(". ")  # without how to go on, which the sweep does itself
        return JobOutcome("interrupted", reason or "KeyboardInterrupt")
    except InUseError as error:
        return JobOutcome("busy", describe(error))
    except ConfigError as error:
        return JobOutcome("refused", describe(error))
    except BaseException as error:  # SystemExit too: a component's, which would end the worker without a word
        return JobOutcome("failed", describe(error))
    finally:
        _idle.set()


def describe(error: BaseException) -> str:
    """An exception as one line."""
    lack = lacks_memory(error)
    (text,) = told(" ".join((lack or without_stack(error)).split()))
    if lack or isinstance(error, ConfigError | RunError | OSError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """What this process and its libraries print goes to the end of the folder's log, a traceback too."""
    with (folder / LOG).open("ab") as log, _redirected(log.fileno()):
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
                if isinstance(error, RunError | ConfigError | KeyboardInterrupt):
                    print(error, file=sys.stderr)
                else:
                    traceback.print_exc()
            raise


@contextlib.contextmanager
def _redirected(target: int) -> Iterator[None]:
    """File descriptors 1 and 2, which a library in C writes to, and not only Python's streams."""
    streams: list[Any] = [sys.stdout, sys.stderr]
    before = [os.dup(number) for number in (1, 2)]
    try:
        for stream, number in zip(streams, (1, 2), strict=True):
            stream.flush()
            os.dup2(target, number)
        yield
    finally:
        for stream, number, earlier in zip(streams, (1, 2), before, strict=True):
            with contextlib.suppress(OSError):  # a full disk is told by the run itself
                stream.flush()
            os.dup2(earlier, number)
            os.close(earlier)


def last_lines(folder: Path, count: int) -> list[str]:
    """The end of a run's log, fit for a terminal; [] where there is none."""
    try:
        with open_regular(folder / LOG) as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200 * count))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return [visible(line) for line in text.splitlines() if line.strip()][-count:]


def start_process(stop: Connection, threads: int) -> None:
    """Make this process a worker: torch is imported here, once for all its jobs.

    Args:
        stop: the end of a pipe whose other end the parent closes, or loses when it dies: then the job writes its
            checkpoint.
        threads: of torch, and so of the fused engine.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()
    import torch

    import rnnlab.training.run

    assert rnnlab.training.run
    torch.set_num_threads(threads)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):  # what is said outside a run, while the engine is chosen, the parent tells
        os.dup2(nowhere, number)
    keep_output()


def _watch(stop: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        stop.recv()
    _stopping.set()
    wish()
    parent = parent_process()
    if parent is not None:
        parent.join()  # it outlives us, or was killed
        _idle.wait(SECONDS_FOR_A_CHECKPOINT)
        os._exit(1)
