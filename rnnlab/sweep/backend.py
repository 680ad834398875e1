"""What a place where jobs are worked on must offer; the sweep itself is the same everywhere."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol


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
        """Have a worker call a function. The future fails with BrokenExecutor where every worker died in its start."""
        ...

    def death(self, error: BaseException) -> str | None:
        """How the worker died, where this exception of a future means that; None where the call itself failed."""
        ...

    def stop(self) -> None:
        """Ask every job under way to write its checkpoint and return. No call is submitted afterwards."""
        ...

    def close(self, *, at_once: bool) -> None:
        """End the workers, with `at_once` whatever they are doing."""
        ...
