"""Hydra's and OmegaConf's complaints as one message: the key, the value given, what is meant or allowed. No torch."""

import errno
import re
import traceback
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, ValidationError

from rnnlab.config import SECTIONS, TOP_KEYS, group_syntax, section_keys
from rnnlab.config_files import broken_file
from rnnlab.contract import ConfigError
from rnnlab.groups import COMPONENTS
from rnnlab.messages import listed, one_line, shown
from rnnlab.options import CommandLine
from rnnlab.overrides import pasted, swept, written_out
from rnnlab.schema import no_such_key
from rnnlab.spelling import meant, nearest

ADDED = ("experiment", "probe")
"""Groups that nothing is chosen of where nothing is said: what is chosen is added, with a plus."""


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
    if "Config group override must be" in text or "is not iterable" in text:
        return _wrong_choice(line)
    found = re.search(
        r"Multiple values for ([\w@/.]+)\.|(\S+) appears more than once|force-add .*'[+]+([^'=]+)", text, re.DOTALL
    )
    if found:
        return _added(next(filter(None, found.groups())), line)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, InterpolationResolutionError | ValidationError):
        why = one_line(str(cause).partition("\n")[0])
        return f"{_given(str(cause.full_key or ''), line)}: not allowed. {why}."
    found = re.search(r"unexpected keyword argument '(\w+)'.*full_key: (hydra\.\w+)", text, re.DOTALL)
    if found:
        return f"{_given(f'{found[2]}.{found[1]}', line)}: no such key."
    found = re.search(r"In '((?:experiment|sweep)/[^']+)'.*?[Kk]ey '([^']+)' (?:not|is not) in", text, re.DOTALL)
    if found:
        return f"{shown(found[1])}.yaml: {shown(found[2])}: no such key there."
    found = re.search(r"In '((?:experiment|sweep)/[^']+)'.*@(?:experiment|sweep)\.", text, re.DOTALL)
    if found:
        return f"{shown(found[1])}.yaml: must begin with the line '# @package _global_'."
    key = _key_of(error)
    if key == "hydra.launcher.ray_address":
        return "ray_address=…: goes with hydra/launcher=ray."
    if key == "experiment":
        return "experiment=…: write +experiment=NAME (with a plus: it is added to the configuration)."
    if key:
        return _unknown_key(key, error, line)
    words = text if cause is error else f"{text} ({cause})"
    words = one_line(re.sub(r"(Config search path:|See https://hydra).*", "", words, flags=re.DOTALL)).rstrip(".")
    return f"{_about(words, line)}{words}."


def _ours_within(error: BaseException) -> str:
    """What a launcher or a sweeper of ours has said, which Hydra wraps; '' where it has said nothing."""
    cause = error.__cause__
    return "" if cause is None else str(cause) if isinstance(cause, ConfigError) else _ours_within(cause)


def _wrong_choice(line: CommandLine) -> str:
    """A group was given something else than the name of an option; Hydra does not say which."""
    for given in line.overrides:
        key, _, value = given.lstrip("+").partition("=")
        group = key.partition("@")[0]
        known = group in COMPONENTS or group.partition("/")[0] in ("probe", "probes", "experiment", "sweep", "hydra")
        if known and not all(map(_is_name, value.split(","))):
            name = group_syntax(group) if group in COMPONENTS else group
            return f"{shown(given)}: not allowed. Choose an option of the group by its name: {name}=OPTION."
    return "A group was given something else than the name of an option: GROUP=OPTION."


def _added(group: str, line: CommandLine) -> str:
    """A choice was added to a group that has one; or with two plus signs, which Hydra has for keys alone."""
    given, added = _given(group, line), group.partition("@")[0] in ADDED
    if given == group:
        return f"{group}: chosen twice. A file that chooses anew says so in its defaults: 'override /{group}: OPTION'."
    if added and not given.startswith("++"):
        return f"{given}: not allowed. {group} is given already; give it once, or several options as a list."
    return f"{given}: not allowed. Write {f'+{group}=OPTION' if added else f'{group}=OPTION, which replaces one'}."


def _about(words: str, line: CommandLine) -> str:
    """What of the command line Hydra's words are about, to be put before them."""
    about = [option for option in line.options if option in words.replace("_", "-")]
    if "--shell-completion" in line.options:
        return "--shell-completion: write --shell-completion install=bash. "
    if "config source" in words or "hydra.searchpath" in words:
        about = [_given("hydra.searchpath", line)]
    return f"{' '.join(about)}: not allowed{' together' if len(about) > 1 else ''}. " if about else ""


def _is_name(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][\w./-]*", value) is not None and value not in ("null", "true", "false")


def _given(key: str, line: CommandLine) -> str:
    """The override that is to blame for a key, of several the last, which counts; the key where there is none.

    That is one that takes it away, sets it, sets something below it, or sets it among others.
    """
    names = {override: override.lstrip("+~").partition("=")[0] for override in reversed(line.overrides)}
    blamed = [
        *(o for o, name in names.items() if name == key and o.startswith("~")),
        *(o for o, name in names.items() if name == key),
        *(o for o, name in names.items() if name.startswith(f"{key}.")),
        *(o for o, name in names.items() if key.startswith(f"{name}.") and "={" in o),
    ]
    return shown(next(iter(blamed), key))


def _sweep(given: str) -> str:
    key, _, value = given.partition("=")
    values = written_out(given)
    is_list = values and key.lstrip("+") in ("seeds", "milestones")
    way = (
        f"Or write a list: {shown(key)}={shown(values)}"
        if is_list
        else f"Or quote it as one: {shown(pasted(key, value))}"
    )
    return f"{shown(given)}: several values. Add -m for a run with each. {way}."


def _unknown_option(path: str, text: str, line: CommandLine) -> str:
    """`path` is GROUP/OPTION, as Hydra looked for it."""
    options = re.findall(r"^\t(\S+)", text.partition("Config search path")[0], re.MULTILINE)
    group, _, option = path.rpartition("/")
    asked = any(option in override for override in line.overrides)
    written = f"{'+' if group == 'experiment' else ''}{group}={option}{'' if asked else ', which a file chooses'}"
    for override in line.overrides:  # initialiser@input_initialiser=… is a choice in the group initialiser
        key, _, value = override.partition("=")
        if f"{key.lstrip('+').partition('@')[0]}/{value}" == path:
            written, option = override, value
    chained = [o.partition("=")[2] for o in line.overrides if o.startswith(f"+{group}@{group}.")]
    if option in chained:
        written = f"{group}=[{','.join(chained)}]"
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


def _unknown_key(key: str, error: BaseException, line: CommandLine) -> str:
    given, (parent, leaf) = _given(key, line), _split(key)
    if leaf in COMPONENTS and not parent:
        if "--config-path" in line.options:
            return f"{given}: not allowed. The configuration of a run has no groups to choose from, only keys."
        return f"{given}: not allowed. Choose an option of the group: {group_syntax(leaf)}=OPTION."
    if key in SECTIONS:
        return (
            f"{given}: not allowed. Set its keys instead: {', '.join(f'{key}.{name}' for name in section_keys(key))}."
        )
    probe = re.match(r"[+~]*probes\.([^.=]+)", f"{key}." if parent else given)
    if probe and not _keys_of(f"probes.{probe[1]}", error):
        return _absent_probe(given, probe[1], line)
    if key in TOP_KEYS:
        return f"{given}: not allowed. It is neither a group nor a section; give it a plain value or a list."
    if parent:
        names = _keys_of(parent, error)
    else:
        names = TOP_KEYS
        key = given.lstrip("+~").partition("=")[0]  # optimizer.lr is meant as optimiser.lr
    if not names:
        return f"{given}: no such key.{meant(key, names)}"
    return no_such_key(given, key, names, parent) + _of_others(given, parent, line)


def _split(key: str) -> tuple[str, str]:
    parent, _, leaf = key.rpartition(".")
    return parent, leaf


def _absent_probe(given: str, probe: str, line: CommandLine) -> str:
    """A stored configuration has no groups to choose from."""
    hint = "" if "--config-path" in line.options else f" Add it with +probe@probes.{probe}={probe}, or probes=full."
    return f"{given}: no such probe in this run.{hint}"


def _keys_of(parent: str, error: BaseException) -> list[str]:
    """The keys that a part of the configuration has, as Hydra had composed it where it failed."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_apply_overrides_to_config":
            node = OmegaConf.select(frame.f_locals["cfg"], parent)
            return [str(k) for k in node if k != "_target_"] if isinstance(node, DictConfig) else []
    return []


def _of_others(given: str, group: str, line: CommandLine) -> str:
    """Hydra composes what the jobs of a sweep share with a group's default, also where the sweep is over that group."""
    swept_over = [shown(o) for o in line.overrides if o.startswith(f"{group}=") and swept(o)]
    over = "" if given.startswith("~") or not swept_over else swept_over[-1]
    return f" With {over}, write ++{given} for a key that these have, and the default has not." if over else ""
