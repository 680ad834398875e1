"""Arms of equal size: the hidden size whose number of learned parameters is nearest to the one asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from rnnlab.contract import ConfigError

FAR = 0.1
"""From this relative distance on, the arm is said not to match: that happens to small nets, whose steps are large."""


@dataclass(frozen=True)
class Match:
    """What `match_parameters` chose: parameters asked for, hidden size, parameters it has (per seed)."""

    asked: int
    hidden: int
    parameters: int

    def __str__(self) -> str:
        off = self.parameters / self.asked - 1
        distance = f"{abs(off):.2%} {'more' if off > 0 else 'fewer'}" if off else "exactly"
        far = (
            " No hidden size comes nearer: beside this arm, a difference may be one of size." if abs(off) > FAR else ""
        )
        chosen = f"cell.hidden={self.hidden} with {self.parameters} parameters ({distance})"
        return f"match_parameters={self.asked}: {chosen}.{far}"


def match(asked: int, parameters: Callable[[int], int], *, least: int) -> Match:
    """The hidden size with the number of parameters nearest to `asked`; of two as near, the smaller.

    Args:
        parameters: how many a hidden size has; grows with it.
        least: the smallest hidden size allowed.
    Raises:
        ConfigError: the smallest has more than asked, or the number does not grow.
    """
    count = cache(parameters)
    if count(least) > asked:
        raise ConfigError(
            f"match_parameters={asked}: not allowed. cell.hidden={least}, the smallest here, has {count(least)} "
            "parameters already."
        )
    low, high = least, 2 * least
    while count(high) <= asked:
        if count(high) <= count(low):
            raise ConfigError(
                f"match_parameters={asked}: not allowed. This cell has {count(low)} parameters with cell.hidden={low} "
                f"and {count(high)} with {high}; it does not grow."
            )
        low, high = high, 2 * high
    while high - low > 1:  # count(low) <= asked < count(high)
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= asked else (low, middle)
    hidden = min(low, high, key=lambda h: abs(count(h) - asked))
    return Match(asked, hidden, count(hidden))
