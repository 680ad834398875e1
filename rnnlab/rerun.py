"""Running a stored configuration again: --config-path=RUN --config-name=config.

Hydra does not get that file, which may be a stranger's: it is read as plain data, and Hydra is given the data.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from rnnlab.contract import ConfigError
from rnnlab.groups import GROUPS
from rnnlab.messages import shown
from rnnlab.options import CommandLine
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.stored_config import read_config

STORED = "rnnlab_stored_config"
"""The name that Hydra knows the data by."""
CHOICES = {"experiment", "sweep", *GROUPS, *(group.options for group in GROUPS.values())}
"""What is chosen on the command line where the configuration is that of configs/."""
RERUN = ("--config-path", "--config-name")
"""The options that name a stored configuration; Hydra does not get them."""


def stored(line: CommandLine) -> dict[str, Any] | None:
    """The configuration that --config-path names; None where it is not given.

    Raises:
        ConfigError: there is none, or it is more than plain data; or a group is chosen, of which it has none.
    """
    given = line.options.get("--config-path")
    if given is None:
        if "--config-name" in line.options:
            raise ConfigError("--config-name: not allowed alone. It goes with --config-path=RUN.")
        return None
    for argument in line.overrides:
        group, chosen, option = argument.lstrip("+~").partition("=")
        if chosen and group.partition("@")[0] in CHOICES and not option.startswith("{"):
            raise ConfigError(
                f"{shown(argument)}: not allowed. The configuration of a run has no groups to choose from; change its "
                "keys."
            )
    return _read(os.path.expanduser(given), line.options.get("--config-name"))


def _read(run: str, name: str | None) -> dict[str, Any]:
    """Of a run folder, or of the file itself."""
    if not (os.path.isdir(run) or (os.path.isfile(run) and name is None)):
        raise ConfigError(
            f"--config-path={shown(run)}: no such folder. Give a run folder; one with groups of your own goes by "
            "--config-dir."
        )
    name = name or "config"
    file = Path(run, name if name.endswith((".yaml", ".yml")) else f"{name}.yaml") if os.path.isdir(run) else Path(run)
    try:
        return read_config(file, _warn)
    except DamagedError as error:
        raise ConfigError(f"{error}.") from None


def _warn(text: str) -> None:
    print(f"rnnlab: {text}", file=sys.stderr)


def offer(stored: dict[str, Any]) -> str:
    """Let Hydra find the data, in this process; the name that it knows them by."""
    ConfigStore.instance().store(name=STORED, node=stored, provider="rnnlab")
    return STORED
