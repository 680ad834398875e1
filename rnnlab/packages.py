"""The packages of the user's own that components may come from: allowed where the user speaks, never in a file.

That is on the command line and in the environment. A configuration may be anybody's, so it cannot allow anything.
"""

import os
import sys
from collections.abc import Iterable, Sequence

from rnnlab.contract import OURS, ConfigError
from rnnlab.own_code import import_as_written

KEY, VARIABLE = "components", "RNNLAB_COMPONENTS"
WHERE = f"on the command line, {KEY}=[rnnlab,my_package], or in the variable {VARIABLE}=my_package"


def take_packages(overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The allowed packages, rnnlab first, and the overrides without those that allow them.

    Raises:
        ConfigError: what is given is no list of packages.
    """
    ours = [override for override in overrides if override.lstrip("+").startswith(f"{KEY}=")]
    given = [named(override.partition("=")[2], KEY) for override in ours]
    return allowed(*given), [override for override in overrides if override not in ours]


def allowed(*given: Iterable[str]) -> tuple[str, ...]:
    """rnnlab, what the environment allows, and these; each once."""
    of_environment = named(os.environ.get(VARIABLE, ""), VARIABLE)
    return tuple(dict.fromkeys([OURS, *of_environment, *(name for names in given for name in names)]))


def named(text: str, where: str) -> list[str]:
    """`[rnnlab,my_package]`, or the same without brackets, as names.

    Raises:
        ConfigError: one of them is no package's name.
    """
    inner = text.strip().strip("'\"")
    inner = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
    names = [name for part in inner.split(",") if (name := part.strip().strip("'\""))]
    for name in names:
        if not name.isidentifier():
            raise ConfigError(f"{where}={text}: not allowed. Give the names of packages: {where}=rnnlab,my_package.")
    return names


def admit(packages: Sequence[str]) -> None:
    """Have packages of the user's own imported as their sources are, and also from the current folder.

    That is searched last, and not for rnnlab's alone: a stranger's folder may hold a `torch.py`.
    """
    if set(packages) - {OURS}:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        import_as_written(packages)
