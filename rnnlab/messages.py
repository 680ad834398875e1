"""How a message shows what somebody gave: on one line, cut where it is long."""

from collections.abc import Sequence
from pathlib import Path

LONGEST_VALUE = 80
"""Characters of a value that are shown whole."""
LONGEST_PATH = 200
"""Characters of a path."""
LONGEST_MESSAGE = 300
"""Characters of a message that another library worded."""
LONGEST_LINE = 400
"""Characters of a line that is told of wrong input, whatever it was made of."""
LONGEST_LIST = 240
"""Characters of a list of names."""


def shown(value: object) -> str:
    """A value as a message shows it: control characters and line ends escaped, a long one cut."""
    return shown_path(value) if isinstance(value, Path) else _cut(_printable(text_of(value)), LONGEST_VALUE)


def shown_path(path: object) -> str:
    """A path, as it was written where it is text: a long one keeps its end, which says most."""
    text = _printable(text_of(path))
    return text if len(text) <= LONGEST_PATH else f"…{text[1 - LONGEST_PATH :]}"


def one_line(text: object) -> str:
    """The words of another library, an exception's say, as one line of bearable length."""
    return _cut(_printable(" ".join(text_of(text).split())), LONGEST_MESSAGE)


def told(message: str) -> list[str]:
    """The lines of a message about wrong input, none longer than is read: a last resort."""
    return [_cut(_printable(line), LONGEST_LINE) for line in message.splitlines()] or [""]


def listed(names: Sequence[str]) -> str:
    """Names separated by commas; of many, the first."""
    told: list[str] = []
    for name in names:
        if sum(len(one) + 2 for one in told) + len(name) > LONGEST_LIST:
            return f"{', '.join(told)}, … ({len(names)} in all)"
        told.append(name)
    return ", ".join(told) or "none"


def text_of(value: object) -> str:
    """As `str`, of whatever it is."""
    try:
        return str(value)
    except (ValueError, RecursionError):  # Python writes no integer of more than 4,300 digits
        return f"(a {type(value).__name__} too large to show)"
    except Exception:  # an exception of somebody's own, say
        return f"(a {type(value).__name__} that cannot be shown)"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    told = f"… ({len(text):,} characters)"
    return text[: longest - len(told)] + told
