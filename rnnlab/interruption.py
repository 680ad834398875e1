"""How a run is interrupted. Imports no torch."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rnnlab.entrance import STATUS, UNTRAINED

_STOPS = ("SIGINT", "SIGTERM")
_WARNINGS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""A terminal that goes away; what batch systems send some time before they end a job, mostly with SIGTERM."""
STOPS = frozenset(signal.Signals[name] for name in _STOPS)
SIGNALS = STOPS | {signal.Signals[name] for name in _WARNINGS if name in signal.Signals.__members__}
"""What asks a process to end, and is obeyed between two steps, with a checkpoint."""
PATIENCE = 10.0
"""Seconds after which a wish to stop that nobody has asked for counts twice, where nothing would be lost."""
GRACE = 3.0
"""Seconds that the main thread has to stop at once, and then the files to be put in order, before the process ends."""
PROMPT = 0.5
"""Seconds after which another thread answers a signal that the main thread has not."""


class Interrupted(KeyboardInterrupt):
    """Interrupted in the middle of something that the same command begins anew."""


def obey(interrupted: Callable[[], bool]) -> None:
    """Ask in a place where nothing is lost by stopping.

    Raises:
        Interrupted: it is so.
    """
    if interrupted():
        raise Interrupted(UNTRAINED)


@contextmanager
def listening(message: str = "Stopping after this step …") -> Iterator[Callable[[], bool]]:
    """SIGNALS are remembered and obeyed between two steps; a second Ctrl-C or SIGTERM is obeyed at once.

    Within another `listening` it hears the same; of the two messages its own is said.

    Args:
        message: said at the first.

    To be entered before torch is imported: an exception in the middle of an import of C code may be lost, or crash it.
    """
    global _ears
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
    elif _ears is not None:
        outer, _ears.message = _ears.message, message
        try:
            yield _ears
        finally:
            _ears.message = outer
    else:
        _ears = _Ears(message)
        try:
            with _ears.open():
                yield _ears
        finally:
            _ears = None


def wish() -> None:
    """Ask whoever listens in this process to stop, as a signal does; any thread may."""
    if _ears is not None:
        _ears.hear()
        _ears.wait()


@contextmanager
def unfinished(at_stake: Callable[[], bool], leave: Callable[[], None]) -> Iterator[None]:
    """Work in the middle of which the process may have to end without its main thread, which C code keeps busy.

    Args:
        at_stake: whether something would be lost.
        leave: puts the files in order, in another thread.
    """
    _work.append(one := (at_stake, leave))
    try:
        yield
    finally:
        _work.remove(one)


_work: list[tuple[Callable[[], bool], Callable[[], None]]] = []


class _Ears:
    """What this process has heard.

    Python calls a signal's handler in the main thread, and not before that has come back from C code: the
    decomposition of a large matrix takes minutes. So a thread is told of each signal too, through a socket that Python
    writes to at once. It ends the process when the main thread does not take what it has to obey at once.
    """

    def __init__(self, message: str) -> None:
        self.message, self.why = message, "Interrupted twice: stopped at once, without a new checkpoint."
        self._heard = threading.Event()
        self._told = threading.Lock()  # held from the first signal on
        self._changing = threading.Lock()  # of what follows, by our threads
        self._waiting = False
        self._asked = False  # somebody was told that it is interrupted, and obeys
        self._stopping = False  # the next of STOPS is a second one
        self._taken = False  # the main thread has taken a second one
        self._ending = self._closed = False
        self._stops = 0  # sent, as far as the thread knows; of several at once the main thread takes one

    def __call__(self) -> bool:
        """Whether it is interrupted."""
        heard = self._heard.is_set()
        self._asked = self._asked or heard
        return heard

    @contextmanager
    def open(self) -> Iterator[None]:
        # nohup has SIGHUP ignored, and means it.
        heard = [number for number in SIGNALS if number in STOPS or signal.getsignal(number) != signal.SIG_IGN]
        reader, writer = socket.socketpair()  # Windows takes no pipe
        writer.setblocking(False)
        threading.Thread(target=self._follow, args=(reader, heard), daemon=True).start()
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._take) for number in heard}
        try:
            yield
        finally:
            with self._changing:
                self._closed = True
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            writer.close()

    def hear(self) -> None:
        self._heard.set()

    def wait(self) -> None:
        """From the first wish on. Not for the main thread: a signal's handler must begin no thread."""
        with self._changing:
            if not self._waiting:
                self._waiting = True
                _later(PATIENCE, self._insist)

    def _answer(self) -> None:
        if self._told.acquire(blocking=False):
            # Not print: the signal may have come in the middle of one. The terminal may be gone.
            with suppress(OSError):
                os.write(2, f"\n{self.message} (again: at once)\n".encode())

    def _take(self, number: int, frame: Any) -> None:
        """In the main thread."""
        while self._ending:  # the files are put in order by another
            time.sleep(1)
        if number in STOPS:
            if self._stopping:
                self._taken = True
                raise KeyboardInterrupt(self.why)
            self._stopping = True
        self.hear()
        self._answer()

    def _follow(self, reader: socket.socket, heard: list[signal.Signals]) -> None:
        """In a thread of its own, until the other end is closed."""
        while number := reader.recv(1):
            if number[0] not in heard:
                continue
            self._stops += number[0] in STOPS
            if self._stops > 1:
                _later(GRACE, self._end, self._stops)
            self.hear()
            _later(PROMPT, self._answer)
            self.wait()
        reader.close()

    def _insist(self) -> None:
        """Nobody has asked; where nothing is lost, that is as if it were wished for a second time."""
        with self._changing:
            if self._closed or self._asked or any(at_stake() for at_stake, _ in _work):
                return
            if not self._stopping:
                self._stopping, self._stops = True, 1
            self.why = UNTRAINED
            self._ask_again()

    def _ask_again(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main, signal.SIGTERM)
        else:  # Windows has none, and interrupts nothing that the main thread waits for
            signal.raise_signal(signal.SIGTERM)

    def _end(self, stops: int) -> None:
        """The main thread was asked to stop at once. A third wish is not left to it."""
        with self._changing:
            if self._closed or self._ending or (self._taken and stops == 2):
                return
            if self._stopping and stops == 2:  # two signals came at once, and it has taken one
                self._ask_again()
                return
            self._ending = True
        self._answer()
        _later(GRACE, os._exit, STATUS)  # whatever the files' disk does
        for _, leave in reversed(_work):
            with suppress(Exception):
                leave()
        with suppress(OSError):
            os.write(2, f"rnnlab: {self.why}\n".encode())
            if os.isatty(1):
                os.write(1, b"\x1b[?25h")  # the cursor, which a progress bar has hidden
        os._exit(STATUS)


def _later(seconds: float, function: Callable[..., None], *arguments: Any) -> None:
    timer = threading.Timer(seconds, function, arguments)
    timer.daemon = True
    timer.start()


_ears: _Ears | None = None
if hasattr(os, "register_at_fork"):  # a process forked by this one would write its signals to our socket
    os.register_at_fork(after_in_child=lambda: _ears and signal.set_wakeup_fd(-1))
