"""Hydra's and OmegaConf's complaints as one message: the key, the value given, what is meant or allowed. No torch."""

import errno
import re
import warnings
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, ValidationError

from rnnlab.config_files import broken_file
from rnnlab.contract import ConfigError, meant, nearest
from rnnlab.messages import listed, one_line, shown
from rnnlab.options import CommandLine
from rnnlab.overrides import quoted
from rnnlab.schema import COMPONENTS, SECTIONS, TOP_KEYS, config_folder, group_syntax, no_such_key, section_keys


def explain(error: BaseException, line: CommandLine) -> str:
    """What to say of an exception that Hydra or OmegaConf raised for this command line."""
    if broken := broken_file(error):
        return broken
    if ours := _ours_within(error):
        return ours
    text = str(error)
    if isinstance(error, RecursionError):
        return "The configuration cannot be read: something in it contains itself."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # of a file, an option's
        return f"{shown(max(line.overrides, key=len))}: not allowed. It is too long."
    found = re.search(r"Could not (?:find|load) '([^']+/[^']*)'", text)
    if found:
        return _unknown_option(found[1], text, line)
    found = re.search(r"Interpolation key '([^']+)' not found", text)
    if found:
        return f"${{{shown(found[1])}}}: no such key to take a value from."
    found = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'(?:\n| requires)", text, re.DOTALL)
    if found:
        return _sweep(found[1])
    if "Config group override must be" in text or "is not iterable" in text or "force-add of config" in text:
        return _wrong_choice(line)
    found = re.search(r"Multiple values for ([\w@/.]+)\.", text)
    if found:
        return f"{_given(found[1], line)}: a choice of {found[1]} is there already. Replace it: {found[1]}=OPTION."
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, InterpolationResolutionError | ValidationError):
        why = one_line(str(cause).partition("\n")[0])
        return f"{_given(str(cause.full_key or ''), line)}: not allowed. {why}."
    key = _key_of(error)
    if key == "hydra.launcher.ray_address":
        return "ray_address=…: goes with hydra/launcher=ray."
    if key == "experiment":
        return "experiment=…: write +experiment=NAME (with a plus: it is added to the configuration)."
    if key:
        return _unknown_key(key, line)
    words = text if cause is error else f"{text} ({cause})"
    return one_line(re.sub(r"(Config search path:|See https://hydra).*", "", words, flags=re.DOTALL))


def _ours_within(error: BaseException) -> str:
    """What a launcher or a sweeper of ours has said, which Hydra wraps; '' where it has said nothing."""
    cause = error.__cause__
    return "" if cause is None else str(cause) if isinstance(cause, ConfigError) else _ours_within(cause)


def _wrong_choice(line: CommandLine) -> str:
    """A group was given something else than the name of an option; Hydra does not say which."""
    for given in line.overrides:
        key, _, value = given.lstrip("+").partition("=")
        group = key.partition("@")[0]
        if (group in COMPONENTS or group in ("probe", "probes", "experiment", "sweep", "hydra")) and not _is_name(
            value
        ):
            return (
                f"{shown(given)}: not allowed. Choose an option of the group by its name: {group_syntax(group)}=OPTION."
            )
    return "A group was given something else than the name of an option: GROUP=OPTION."


def _is_name(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w./-]*", value) is not None and value not in ("null", "true", "false")


def _given(key: str, line: CommandLine) -> str:
    """The override that sets a key, or something below it; the key where none does."""
    written = {override: override.lstrip("+~").partition("=")[0] for override in line.overrides}
    exact = [override for override, name in written.items() if name == key]
    below = [override for override, name in written.items() if name.startswith(f"{key}.")]
    return shown(next(iter([*exact, *below]), key))


def _sweep(given: str) -> str:
    key, _, value = given.partition("=")
    hint = f", or write a list: {shown(key)}=[{shown(value)}]" if key.lstrip("+") in ("seeds", "milestones") else ""
    return f"{shown(given)}: several values. Add -m for a run with each{hint}."


def _unknown_option(path: str, text: str, line: CommandLine) -> str:
    """`path` is GROUP/OPTION, as Hydra looked for it."""
    options = re.findall(r"^\t(\S+)", text.partition("Config search path")[0], re.MULTILINE)
    group, _, option = path.rpartition("/")
    written = f"{'+' if group == 'experiment' else ''}{group}={option}"
    for override in line.overrides:  # initialiser@input_initialiser=… is a choice in the group initialiser
        key, _, value = override.partition("=")
        if f"{key.lstrip('+').partition('@')[0]}/{value}" == path:
            written, option = override, value
    allowed = f" Allowed: {listed(options)}." if options else ""
    return f"{shown(written)}: no such option.{nearest(option, options)}{allowed}"


def _key_of(error: BaseException) -> str | None:
    """The full key that does not exist, from OmegaConf's exception behind Hydra's, or from Hydra's words."""
    cause: Any = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    key = getattr(cause, "full_key", None)
    if key:
        return str(key)
    found = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", str(error))
    return found[1] if found and "@" not in found[1] else None


def _unknown_key(key: str, line: CommandLine) -> str:
    given, parent, leaf = _given(key, line), *_split(key)
    if leaf in COMPONENTS and not parent and "=" in given:
        if "--config-path" in line.options:
            return f"{given}: not allowed. The configuration of a run has no groups to choose from, only keys."
        return f"{given}: not allowed. Choose an option of the group: {group_syntax(leaf)}=OPTION."
    if key in SECTIONS:
        return (
            f"{given}: not allowed. Set its keys instead: {', '.join(f'{key}.{name}' for name in section_keys(key))}."
        )
    if key in TOP_KEYS:
        return f"{given}: not allowed. It is neither a group nor a section; give it a plain value or a list."
    if key.startswith("probes.") and not _component_keys(".".join(key.split(".")[:2]), line):
        return _absent_probe(key.split(".")[1], line)
    if parent in SECTIONS:
        names = section_keys(parent)
    elif parent:
        names = _component_keys(parent, line)
    else:
        names = TOP_KEYS
        key = given.lstrip("+~").partition("=")[0]  # optimizer.lr is meant as optimiser.lr
    if not names:
        return f"{given}: no such key.{meant(key, names)}"
    return no_such_key(given, key, names, parent)


def _split(key: str) -> tuple[str, str]:
    parent, _, leaf = key.rpartition(".")
    return parent, leaf


def _absent_probe(probe: str, line: CommandLine) -> str:
    given = next((a for a in line.overrides if a.startswith(f"probes.{probe}.")), f"probes.{probe}")
    return f"{shown(given)}: no such probe in this run. Add it with +probe@probes.{probe}={probe}, or probes=full."


def _component_keys(group: str, line: CommandLine) -> list[str]:
    """Keys of the option chosen in a group, composed without the arguments that name keys; [] if that fails."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    keep = [override for override in line.overrides if "." not in override.partition("=")[0]]
    if folder := line.options.get("--config-dir"):
        keep.append(f"hydra.searchpath=[{quoted(f'file://{Path(folder).resolve()}')}]")
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings(action="ignore"), initialize_config_dir(str(config_folder()), version_base="1.3"):
            node = OmegaConf.select(compose("config", overrides=keep), group)
    except (HydraException, OmegaConfBaseException, ValueError):
        return []
    return [str(k) for k in node if k != "_target_"] if isinstance(node, DictConfig) else []
