"""What a place where jobs are worked on must offer; the sweep itself is the same everywhere."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Death:
    """How a worker came to its end.

    Args:
        reason: a clause about the worker: `was killed (SIGSEGV)`.
        begun: whether it had taken its call; one that dies in its start costs no job anything.
        asked: whether a signal asked it to end, as batch systems do and who is short of memory.
        starved: whether it may have been for lack of memory.
    """

    reason: str
    begun: bool = True
    asked: bool = False
    starved: bool = False


class Backend(Protocol):
    """Workers that take one call at a time each."""

    retries: int
    """How often a job whose worker died is given to another, which goes on from its checkpoint."""

    @property
    def composers(self) -> int:
        """In how many pieces the composing of all jobs is done."""
        ...

    @property
    def slots(self) -> int:
        """Calls that are worked on at the same time."""
        ...

    def describe(self) -> str:
        """For the overview: how many workers, with how many threads each, where."""
        ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Have a worker call a function."""
        ...

    def death(self, error: BaseException) -> Death | None:
        """How the worker died, where this exception of a future means that; None where the call itself failed."""
        ...

    def shrink(self) -> bool:
        """Have a slot less from now on, to need less memory. False where that is not ours to choose, or one is left."""
        ...

    def stop(self) -> None:
        """Ask every job under way to write its checkpoint and return. No call is submitted afterwards."""
        ...

    def close(self, *, at_once: bool) -> None:
        """End the workers, with `at_once` whatever they are doing."""
        ...
