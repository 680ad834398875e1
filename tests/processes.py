"""Other processes in tests: they are waited for until something has happened, never for a time.

How fast a machine is must not decide a test. What has to happen is waited for with one limit, which only a hang
reaches; and where a run must be found in its middle, it waits there itself, at a gate.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE = 900.0
"""Seconds; what is waited for takes a few, and ten times as many on a machine that is busy with other things."""

GATED = ["--config-dir", "conf", "components=[rnnlab,gated]", "clipping=gate"]
"""Arguments with which a run passes the gate of its current folder at every step; to be given first."""

_GATE = '''
import os, time
from pathlib import Path
from rnnlab.contract import component

@component
class Gate:
    """Clips nothing. Where there is a file `closed` that says N, it waits at the process's N-th step of a session."""

    def __call__(self, step):
        calls = self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        closed, here = Path("closed"), Path(f"waiting-{os.getpid()}")
        if closed.exists() and calls >= int(closed.read_text()):
            here.touch()
            while closed.exists():
                time.sleep(0.005)
            here.unlink(missing_ok=True)
        return step.norm_R < 0
'''


class Gate:
    """Where the runs of a folder wait for a test.

    Args:
        folder: the current folder of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gated").mkdir(exist_ok=True)
        (folder / "conf" / "clipping").mkdir(parents=True, exist_ok=True)
        (folder / "gated" / "__init__.py").touch()
        (folder / "gated" / "gate.py").write_text(_GATE)
        (folder / "conf" / "clipping" / "gate.yaml").write_text("_target_: gated.gate.Gate\n")

    def close(self, step: int) -> None:
        """Every process waits at the step of this number, counted from the beginning of its session."""
        for left in self.folder.glob("waiting-*"):  # by processes that were killed
            left.unlink()
        temporary = self.folder / "closing"
        temporary.write_text(str(step))
        temporary.replace(self.folder / "closed")

    def open(self) -> None:
        (self.folder / "closed").unlink()

    def waiting(self) -> list[int]:
        """Processes that wait."""
        return sorted(int(path.name.partition("-")[2]) for path in self.folder.glob("waiting-*"))

    def interrupt_each(self, process: "subprocess.Popen[str]", number: int, *, every: int, workers: int) -> None:
        """Closed at step `every`: so many workers, one after the other, are sent a signal there, and end."""
        for left in reversed(range(workers)):
            (worker,) = self.wait_for(1, process)
            os.kill(worker, number)
            wait_until(lambda pid=worker: heard(pid, number))
            self.open()
            wait_until(lambda pid=worker: gone([pid]))
            if left:
                self.close(every)

    def wait_for(self, count: int, process: "subprocess.Popen[str]") -> list[int]:
        """Those processes, when there are so many. `process`: which must not end before."""
        wait_until(lambda: len(self.waiting()) >= count or process.poll() is not None)
        assert process.poll() is None, "".join(process.communicate())
        return self.waiting()


def wait_until(condition: Callable[[], object], explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, explain() or "it has not happened"
        time.sleep(0.01)


def finish(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What a process has written, when it has ended; one that hangs is ended."""
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def gone(pids: list[int]) -> bool:
    """Whether none of these is a process that still runs."""

    def ended(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    return all(ended(pid) for pid in pids)


def heard(pid: int, number: int) -> bool:
    """Whether a process has taken a signal that it was sent."""
    state = Path(f"/proc/{pid}/status").read_text()
    return not int(re.search(r"ShdPnd:\s*(\w+)", state)[1], 16) >> (number - 1) & 1


def listens(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which Python itself has not."""
    with suppress(OSError):  # it has ended
        state = Path(f"/proc/{pid}/status").read_text()
        return bool(int(re.search(r"SigCgt:\s*(\w+)", state)[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False
