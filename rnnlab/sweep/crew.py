"""The workers of a sweep while some die in their start: fewer at a time, and longer pauses, before all is given up."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from rnnlab.contract import RunError
from rnnlab.sweep.backend import Backend, Death

POLL = 0.2
"""Seconds after which a signal is seen at the latest."""
STARTS = 5
"""So many times in a row a single worker may die in its start."""
FIRST_PAUSE = 1.0
"""Seconds without a new worker after one that died in its start; where it was alone, twice as many each time."""


class Crew:
    """Whether another call can be handed to a backend's workers.

    Args:
        say: a word to the user.
    """

    def __init__(self, backend: Backend, say: Callable[[str], None]) -> None:
        self.backend, self.say = backend, say
        self.deaths, self.alone = 0, 0  # in a start, since a call came back: of all, and where only one was begun
        self.rested = 0.0
        self.broken = ""

    def has_room(self, under_way: Collection[Any]) -> bool:
        """Whether a worker more can be given a call now."""
        resting = self.deaths and time.monotonic() < self.rested
        return not self.broken and not resting and len(under_way) < self.backend.slots

    def wait(self, under_way: Collection["Future[Any]"]) -> set["Future[Any]"]:
        """Those of the calls that have ended, after a moment.

        Raises:
            RunError: there are none, and no worker can begin.
        """
        if not under_way and self.broken:
            raise RunError(self.broken)
        if not under_way:
            time.sleep(POLL)
        return wait(under_way, timeout=POLL, return_when=FIRST_COMPLETED).done

    def came_back(self) -> None:
        """A worker has done its call, or died in it: so it had begun."""
        self.deaths = self.alone = 0

    def died_in_its_start(self, death: Death) -> None:
        """A worker did, and cost nothing."""
        fewer = self.backend.shrink()
        self.alone += not fewer
        if self.alone == STARTS:
            self.broken = f"The workers of the sweep cannot begin: each {death.reason}."
            return
        pause = FIRST_PAUSE * 2**self.alone
        self.deaths += 1
        self.rested = time.monotonic() + pause
        now = f"{self.backend.slots} at a time from now on, " if fewer else ""
        self.say(f"A worker {death.reason}; {now}the next is begun in {pause:.0f} s")
