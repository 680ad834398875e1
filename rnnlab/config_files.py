"""The YAML files that a configuration was read from: which one is broken, and which one has set a key. No torch."""

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnlab.config import config_folder, group_syntax
from rnnlab.contract import ConfigError
from rnnlab.groups import COMPONENTS
from rnnlab.messages import one_line, shown
from rnnlab.options import CommandLine
from rnnlab.overrides import OF_HYDRA, REASON

GLOBAL = ("experiment", "sweep")
"""Groups whose options set keys of the whole configuration."""
LARGEST = 2**20
"""Bytes of a file of the user's own: Hydra reads less than this in seconds."""


def find_folder(line: CommandLine) -> CommandLine:
    """The command line with --config-dir as Hydra can take it.

    Raises:
        ConfigError: there is no such folder, or Hydra would pass over what it was given for.
    """
    given = line.options.get("--config-dir")
    if given is None:
        return line
    path = os.path.expanduser(given)  # behind `=` the shell leaves a ~ as it is
    if not os.path.isdir(path):
        raise ConfigError(f"--config-dir={shown(Path(given))}: no such folder.")
    for ours in sorted(config_folder().rglob("*.yaml")):
        name = str(ours.relative_to(config_folder()))
        if os.path.exists(os.path.join(path, name)):
            hint = "A run folder goes by --config-path" if name == "config.yaml" else "Call it something else"
            raise ConfigError(
                f"--config-dir={shown(Path(given))}: not allowed. rnnlab has a {name} too, which is taken. {hint}."
            )
    return CommandLine({**line.options, "--config-dir": path}, line.overrides)


def refuse_references(line: CommandLine) -> None:
    """Refuse paths that Hydra cannot keep in its configuration, where `${` begins a reference."""
    for path in (os.getcwd(), os.path.abspath(line.options.get("--config-dir") or ".")):
        try:
            OmegaConf.create({"path": path})
        except OmegaConfBaseException:
            raise ConfigError(f"{shown(Path(path))}: not allowed. In a path '${{' begins a reference.") from None


def check_sizes(line: CommandLine) -> None:
    """Refuse a huge file that was chosen from --config-dir, instead of reading it for minutes."""
    folder = line.options.get("--config-dir")
    for override in line.overrides if folder else []:
        key, _, option = override.lstrip("+").partition("=")
        file = Path(str(folder), key.partition("@")[0], f"{option}.yaml")
        try:
            size = file.stat().st_size
        except (OSError, ValueError):  # no file of that name; Hydra says so
            continue
        if size > LARGEST:
            raise ConfigError(f"{shown(file)}: cannot be read: {size:,} bytes are no configuration.")


def broken_file(error: BaseException) -> str:
    """What is wrong with the file at which Hydra failed; '' where it was something else."""
    told = {
        UnicodeDecodeError: "it is not text in UTF-8",
        RecursionError: "something in it contains itself, or is nested too deeply",
        ValueError: "a number in it is too large" if "limit" in str(error) else one_line(error).rstrip("."),
        yaml.YAMLError: shown(getattr(error, "problem", None) or getattr(error, "reason", None) or one_line(error)),
    }
    why = next((text for kind, text in told.items() if isinstance(error, kind)), "")
    file = _file_being_read(error) if why else None
    if file is None:
        return ""
    mark: Any = getattr(error, "problem_mark", None)
    return f"{shown(file)}{f', line {mark.line + 1}' if mark else ''}: cannot be read: {why}."


def _file_being_read(error: BaseException) -> Path | None:
    """From the innermost of Hydra's frames that read a file: few of these exceptions know of which."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, source = frame.f_locals.get("config_path"), frame.f_locals.get("self")
        if frame.f_code.co_name == "load_config" and name is not None:
            file = Path(str(getattr(source, "path", "")), str(name))
            found = file if file.suffix else file.with_name(f"{file.name}.yaml")
    return found


def set_by(message: str) -> str:
    """Which file has set the key that a message begins with, where no override did: '' or a sentence."""
    key = re.split(r"[=:]", message, maxsplit=1)[0]
    if not HydraConfig.initialized() or not re.fullmatch(r"[\w.]+", key):
        return ""
    for file, beginning in _chosen_files(HydraConfig.get()):
        if key in GLOBAL and file.parent.name == key:
            return f" The file is {file.parent.name}/{file.name}."
        if any(override.lstrip("+~").partition("=")[0] == key for override in given_to_hydra("task")):
            continue
        if key.startswith(beginning) and OmegaConf.select(_read(file), key.removeprefix(beginning)) is not None:
            way_out = f"; ~{key} leaves it out" if "no such key" in message else ""
            return f" It is set by {file.parent.name}/{file.name}{way_out}."
    return ""


def given_to_hydra(kind: str) -> list[str]:
    """The overrides that the configuration at hand was composed with, as written: `task`, or `hydra` for its own."""
    if not HydraConfig.initialized():
        return []
    written: Any = OmegaConf.to_container(getattr(HydraConfig.get().overrides, kind), resolve=False)
    return [str(override) for override in written]


def refuse_hydra_in_files(hydra: Any) -> None:
    """Refuse a key of Hydra's own that an experiment sets and that would move nothing: it stays as it is here.

    Raises:
        ConfigError: names the key and the file.
    """
    for file, beginning in _chosen_files(hydra):
        node = _read(file).get("hydra") if not beginning else None
        for key in node if isinstance(node, DictConfig) else []:
            if f"hydra.{key}" not in OF_HYDRA:
                raise ConfigError(f"{file.parent.name}/{file.name}: hydra.{shown(key)}: not allowed. {REASON}")


def refuse_several_options(config: DictConfig) -> None:
    """Refuse a list of options in a file's defaults: Hydra would take the last one without a word.

    Raises:
        ConfigError: names the group.
    """
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    chosen = {group for group in COMPONENTS if group_syntax(group) in choices}
    for group in COMPONENTS if chosen else ():  # of a stored configuration none is chosen
        if group not in chosen and group in config:
            raise ConfigError(
                f"{group}: not allowed. A file chooses several options of the group in its defaults, and a run has one."
            )


def _chosen_files(hydra: Any) -> Iterator[tuple[Path, str]]:
    """Files that are options of a group, and what their keys begin with: those for the whole configuration first."""
    runtime: Any = OmegaConf.to_container(hydra.runtime, resolve=False)  # a path may have ${ in it
    folders = [Path(source["path"]) for source in runtime["config_sources"] if source["schema"] == "file"]
    choices = {str(group): option for group, option in runtime["choices"].items()}
    groups = sorted(choices, key=lambda group: group.partition("@")[0] not in GLOBAL)
    for folder in folders:
        for group in groups:
            name, _, package = group.partition("@")
            file = folder / name / f"{choices[group]}.yaml"
            if file.is_file() and (name in GLOBAL or folder != config_folder()):
                yield file, "" if name in GLOBAL else f"{package or name}."


def _read(file: Path) -> DictConfig:
    """A file that Hydra has read before."""
    read = OmegaConf.load(file)
    return read if isinstance(read, DictConfig) else OmegaConf.create({})
