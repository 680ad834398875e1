"""The command line taken apart: options and overrides, in any order. Imports no torch.

Hydra's own parser wants its options in one piece, takes any abbreviation of them and ends in usage text. Here it only
tells which options there are; everything that is wrong is a ConfigError of one line.
"""

import re
from argparse import Action
from dataclasses import dataclass

from hydra._internal.utils import get_args_parser

from rnnlab.config import TOP_KEYS
from rnnlab.contract import ConfigError
from rnnlab.messages import shown
from rnnlab.spelling import ALIASES, meant, nearest

NOT_OURS = ("--experimental-rerun",)
"""Of Hydra's options: it loads a pickle."""


@dataclass(frozen=True)
class CommandLine:
    """A command line taken apart.

    Args:
        options: by their long names; None for one without a value.
        overrides: what is to be added to the configuration, as it was written.
    """

    options: dict[str, str | None]
    overrides: list[str]

    def arguments(self, ours: list[str]) -> list[str]:
        """What Hydra is given: options first; overrides of ours before those of the user."""
        options = [name if value is None else f"{name}={value}" for name, value in self.options.items()]
        return [*options, *ours, *self.overrides]


def take_apart(arguments: list[str]) -> CommandLine:
    """The options and the overrides among some arguments.

    Raises:
        ConfigError: an unknown option, a missing or wrong value of one, or a word that is neither.
    """
    known = {spelling: action for action in _actions() for spelling in action.option_strings}
    options: dict[str, str | None] = {}
    overrides: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            overrides += left
            break
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        name, given, value = argument.partition("=")
        action = known.get(name)
        if action is None:
            raise ConfigError(_unknown(argument, left))
        long = action.option_strings[0]
        taken = _value(action, name, value if given else None, left)
        if options.setdefault(long, taken) != taken:
            raise ConfigError(f"{name} {shown(taken)}: not allowed. {long} is given already: {shown(options[long])}.")
    if "--package" in options and "--cfg" not in options:
        raise ConfigError(f"--package {shown(options['--package'])}: not allowed. It goes with --cfg.")
    return CommandLine(options, overrides)


def _actions() -> list[Action]:
    actions = get_args_parser()._actions
    return [a for a in actions if a.option_strings and a.option_strings[0] not in NOT_OURS]


def _value(action: Action, name: str, given: str | None, left: list[str]) -> str | None:
    """An option's value; taken from the arguments behind it where it has not been given with `=`."""
    choices = [str(choice) for choice in action.choices or ()]
    if action.nargs == 0:
        if given is not None:
            raise ConfigError(f"{name}={shown(given)}: not allowed. {name} takes no value.")
        return None
    if action.nargs == "?" and given is None and not (left and re.fullmatch(r"\w[\w-]*", left[0])):
        return str(action.const)
    if given is None and left and not left[0].startswith("-"):
        given = left.pop(0)
    if choices and given not in choices:
        written = name if given is None else f"{name} {shown(given)}"
        raise ConfigError(f"{written}: not allowed. {name} takes one of: {', '.join(choices)}.")
    if not given:
        raise ConfigError(f"{name}: needs a value. Write {name} {action.dest.upper()}.")
    return given


def _unknown(argument: str, left: list[str]) -> str:
    """What to say of an option that does not exist: `--experiment smoke` is meant as +experiment=smoke."""
    known = [action.option_strings[0].removeprefix("--") for action in _actions()]
    name, _, value = argument.lstrip("-").partition("=")
    value = shown(value or (left[0] if left and not left[0].startswith("-") else "VALUE"))
    key, full = name.replace("-", "_"), next((k for k in [*known, "experiment"] if name and k.startswith(name)), name)
    hint = meant(key, TOP_KEYS) if key in ALIASES else ""
    if full == "experiment":
        hint = f" Did you mean +experiment={value}?"
    elif full in known:
        hint = f" Did you mean --{full}?"
    elif key in TOP_KEYS or key.partition(".")[0] in TOP_KEYS:
        hint = f" Did you mean {shown(key)}={value}?"
    return f"{shown(argument)}: no such option.{hint or nearest(name, known)} Options: --{', --'.join(known)}."
