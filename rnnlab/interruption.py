"""How a run is interrupted. Imports no torch."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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
    """Ctrl-C and SIGTERM are remembered and obeyed between two steps; a second one is obeyed at once.

    Args:
        message: said at the first.

    To be entered before torch is imported: an exception in the middle of an import of C code may be lost, or crash it.
    """
    seen = threading.Event()

    def remember(number: int, frame: Any) -> None:
        if seen.is_set():
            raise KeyboardInterrupt("Interrupted twice: stopped at once, without a new checkpoint.")
        seen.set()
        print(f"\n{message} (again: at once)", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread():
        yield seen.is_set
        return
    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
