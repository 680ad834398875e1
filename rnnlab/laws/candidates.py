"""Values that a type of hyper-parameter allows, without knowing what they are for."""

from collections.abc import Iterator
from typing import Any, get_args

from rnnlab.contract import ConfigError, check_value

NUMBERS = (1.0, 0.5, 0.1, 2, 4, 10, 0.9, 0.95, 50, 0.01, 3, 60, 1, 0, 0.0, 1e-3, -0.5)


def allowed(key: str, kind: Any, value: Any = None) -> Iterator[Any]:
    """Values of a type other than this one, nearby ones first."""
    seen = [value]
    for candidate in (*_near(value), *_named(kind), *NUMBERS, True, False, None, [1.0]):
        try:
            found = check_value(key, candidate, kind)
        except ConfigError:
            continue
        if type(found) in (int, float) and isinstance(value, bool):
            continue
        if not any(type(found) is type(one) and found == one for one in seen):
            seen.append(found)
            yield found


def first_allowed(key: str, kind: Any) -> Any:
    """The first value that a type allows.

    Raises:
        ConfigError: none that can be thought of here.
    """
    for candidate in allowed(key, kind, value=...):
        return candidate
    raise ConfigError(f"{key}: needs a value, which its type does not tell. Give it in `values`.")


def _near(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, value - 1, 2 * value)
    if isinstance(value, float):
        return (0.5 * value, 2 * value)
    if isinstance(value, list):  # twice each of its numbers, and the first of them alone
        numbers: list[Any] = [2 * one for one in value if isinstance(one, int | float)]
        return (numbers, value[:1])
    if isinstance(value, dict):  # members in another order, and one of them alone
        return (dict(reversed(value.items())), *({name: member} for name, member in value.items()))
    return ()


def _named(kind: Any) -> tuple[Any, ...]:
    """What a type spells out: the choices of a Literal, also among others."""
    found: list[Any] = []
    for part in get_args(kind):
        found += [part] if isinstance(part, str) else _named(part)
    return tuple(found)
