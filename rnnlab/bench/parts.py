"""Where a run's time goes: exclusive seconds per named part, by timers around the functions of a real run."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any


class Parts:
    """Seconds per part. Time inside a nested part belongs to the inner one, so that all add up to the whole.

    Args:
        outermost: the part that everything not wrapped belongs to.
        opaque: parts inside which everything belongs to them, whatever is called there.
    """

    def __init__(self, outermost: str, opaque: set[str]) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.alias: dict[str, str] = {}  # parts that are booked under another name for now
        self._outermost, self._opaque = outermost, opaque
        self._stack: list[str] = []
        self._mark = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """What happens inside is counted."""
        self._stack, self._mark = [self._outermost], time.perf_counter()
        try:
            yield
        finally:
            self._book()
            self._stack = []

    def restart(self) -> None:
        """Forget what was counted so far; the parts under way go on."""
        self._book()
        self.seconds.clear()

    def total(self, without: Collection[str] = ()) -> float:
        """Seconds of all parts but some, up to now."""
        self._book()
        return sum(seconds for part, seconds in self.seconds.items() if part not in without)

    def within(self, part: str) -> bool:
        """Whether it is under way."""
        return part in self._stack

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time booked under a part."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not self._stack:
                return function(*args, **kwargs)
            self._book()
            outer, inner = self._stack[-1], self.alias.get(part, part)
            self._stack.append(outer if outer in self._opaque else inner)
            try:
                return function(*args, **kwargs)
            finally:
                self._book()
                self._stack.pop()

        return wrapper

    def _book(self) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._mark
        self._mark = now


@contextmanager
def replaced(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Replace an attribute by a wrapped one, for a while."""
    original = vars(owner).get(name)
    before = getattr(owner, name)
    setattr(owner, name, wrap(before))
    try:
        yield
    finally:
        if original is None:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
