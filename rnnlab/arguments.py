"""Arguments of the tools beside the run itself: `rnnlab.report`, `rnnlab.diagnose`, …"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rnnlab.messages import listed, one_line, shown
from rnnlab.spelling import nearest


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, instead of argparse's usage text, and takes no abbreviations.

    Exit status 2.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            options = [option for action in self._actions for option in action.option_strings if option[:2] == "--"]
            name = unknown.split()[0].partition("=")[0]
            hint = nearest(next((o for o in options if name[2:] and o.startswith(name)), name), options)
            message = f"{shown(unknown)}: not allowed here.{hint} Options: {listed(options)}"
        print(f"{self.prog}: {one_line(message)}", file=sys.stderr)
        sys.exit(2)


def whole(least: int, most: int) -> Callable[[str], int]:
    """For `type=`: a whole number from `least` to `most`."""

    def number(text: str) -> int:
        digits = text if text.isascii() and text.isdigit() and len(text) <= len(str(most)) else ""
        if not digits or not least <= int(digits) <= most:
            raise argparse.ArgumentTypeError(
                f"{shown(text) or repr(text)}: not allowed; a whole number from {least} to {most}"
            )
        return int(digits)

    return number


def positive(text: str) -> float:
    """For `type=`: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{shown(text) or repr(text)}: not allowed; a number above 0")
    return number


def path(text: str) -> Path:
    """For `type=`: what can be a path, of something that is there or not. An empty one would be the current folder."""
    why = "" if text else "empty"
    try:
        Path(text or ".").lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # for the tool itself to tell
        pass
    except OSError as error:  # too long, say
        why = str(error.strerror)
    except ValueError:
        why = "it holds a zero byte"
    if why:
        raise argparse.ArgumentTypeError(f"{shown(text) or repr(text)}: cannot be a path ({why})")
    return Path(text)


def line(text: str) -> str:
    """For `type=`: a short line of text that can be printed."""
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise argparse.ArgumentTypeError(f"{shown(text) or repr(text)}: not allowed; a line of at most 200 characters")
    return text
