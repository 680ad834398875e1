"""How a run is interrupted. Imports no torch."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_STOPS = ("SIGINT", "SIGTERM")
_WARNINGS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""A terminal that goes away; what batch systems send some time before they end a job, mostly with SIGTERM."""
STOPS = frozenset(signal.Signals[name] for name in _STOPS)
SIGNALS = STOPS | {signal.Signals[name] for name in _WARNINGS if name in signal.Signals.__members__}
"""What asks a process to end, and is obeyed between two steps, with a checkpoint."""


class Interrupted(KeyboardInterrupt):
    """Interrupted in the middle of something that the same command begins anew."""


def obey(interrupted: Callable[[], bool]) -> None:
    """Ask in a place where nothing is lost by stopping.

    Raises:
        Interrupted: it is so.
    """
    if interrupted():
        raise Interrupted("Interrupted before anything was trained.")


@contextmanager
def listening(message: str = "Stopping after this step …") -> Iterator[Callable[[], bool]]:
    """SIGNALS are remembered and obeyed between two steps; a second Ctrl-C or SIGTERM is obeyed at once.

    Args:
        message: said at the first.

    To be entered before torch is imported: an exception in the middle of an import of C code may be lost, or crash it.
    """
    seen, stops = threading.Event(), threading.Event()

    def remember(number: int, frame: Any) -> None:
        if number in STOPS:
            if stops.is_set():
                raise KeyboardInterrupt("Interrupted twice: stopped at once, without a new checkpoint.")
            stops.set()
        if not seen.is_set():
            seen.set()
            # Not print: the signal may have come in the middle of one. The terminal may be gone.
            with suppress(OSError):
                os.write(2, f"\n{message} (again: at once)\n".encode())

    if threading.current_thread() is not threading.main_thread():
        yield seen.is_set
        return
    # nohup has SIGHUP ignored, and means it.
    heard = [number for number in SIGNALS if number in STOPS or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, remember) for number in heard}
    try:
        yield seen.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
