"""Running a stored configuration again: --config-path=RUN --config-name=config.

Hydra does not get that file, which may be a stranger's: it is read as plain data, and Hydra is given the data.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore

from rnnlab.contract import ConfigError
from rnnlab.groups import GROUPS
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.stored_config import read_config

STORED = "rnnlab_stored_config"
"""The name that Hydra knows the data by."""
DEFAULTS = ["_self_", {"override hydra/launcher": "local"}, {"override hydra/sweeper": "grid"}]
"""As configs/config.yaml has them, so that a stored configuration can be swept."""
CHOICES = {"experiment", "sweep", *GROUPS, *(group.options for group in GROUPS.values())}
"""What is chosen on the command line where the configuration is that of configs/."""
SHORT = {"-cp": "--config-path", "-cn": "--config-name", "-cd": "--config-dir", "-p": "--package", "-c": "--cfg"}
VALUED = (*SHORT.values(), "--experimental-rerun")
LONG = (
    *VALUED,
    "--help",
    "--hydra-help",
    "--version",
    "--resolve",
    "--run",
    "--multirun",
    "--shell-completion",
    "--info",
)


def take_stored(arguments: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """The configuration that --config-path names, None where it is not given, and the arguments that are left.

    Raises:
        ConfigError: there is none, or it is more than plain data; or Hydra's rerun of a pickle is asked for.
    """
    options = list(_options(arguments))
    given = {option: value for option, value, _ in options}  # the last counts, as for argparse
    if "--experimental-rerun" in given:
        raise ConfigError(
            "--experimental-rerun: not allowed. It loads a pickle, which runs whatever is in it. Run a stored "
            "configuration again with --config-path=RUN --config-name=config."
        )
    folder = given.get("--config-path")
    ours = () if folder is None else ("--config-path", "--config-name")
    left = [argument for option, _, together in options if option not in ours for argument in together]
    if get_args_parser().parse_known_args(left)[0].config_path is not None:
        raise ConfigError("--config-path: not allowed like this. Give it as --config-path=RUN, once.")
    if folder is None:
        return None, left
    for argument in left:
        group, chosen, option = argument.lstrip("+~").partition("=")
        if chosen and group.partition("@")[0] in CHOICES and not option.startswith("{"):
            raise ConfigError(
                f"{argument}: not allowed. The configuration of a run has no groups to choose from; change its keys."
            )
    return _read(Path(folder).expanduser(), given.get("--config-name", "config")), left


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Options by their long names with their values, and as they were given; an override is an option of its own."""
    rest = list(arguments)
    while rest:
        option, equals, value = rest[0].partition("=")
        option = _full(option)
        width = 1 if equals or option not in VALUED else 2
        together, rest = rest[:width], rest[width:]
        yield option, value if equals else together[-1], together


def _full(option: str) -> str:
    """An option by its long name; argparse takes every beginning that fits one alone."""
    fitting = [long for long in LONG if len(option) > 2 and long.startswith(option)]
    return SHORT.get(option) or (fitting[0] if option not in LONG and len(fitting) == 1 else option)


def _read(folder: Path, name: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise ConfigError(
            f"--config-path={folder}: no such folder. Give a run folder; a folder with groups of your own goes by "
            "--config-dir."
        )
    try:
        return read_config(folder / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"))
    except DamagedError as error:
        raise ConfigError(f"{error}.") from None


def offer(stored: dict[str, Any]) -> None:
    """Let Hydra find the data under the name STORED, in this process."""
    ConfigStore.instance().store(name=STORED, node={"defaults": DEFAULTS, **stored}, provider="rnnlab")
