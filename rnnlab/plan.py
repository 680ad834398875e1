"""What a component sees of the run that is planned when it is asked `why_not`; and the one place that asks. No torch.

A component says itself what it makes no sense with, beside the equation that is the reason:

    def why_not(self, plan: Plan) -> Refusal:
        if plan.cell.states != ("h", "c"):
            return f"It cuts the path through h and keeps that through c; {plan.chosen('cell')} has no such two paths"
        return None

It is asked twice. First as its source has it, of the configuration alone, while nothing is imported: a wrong command is
told at once, see `rnnlab.written`. What cannot be told then is told by `rnnlab.build`, which asks the component itself
when the task and a cell are there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnnlab.config import Config
from rnnlab.contract import ConfigError
from rnnlab.groups import COMPONENTS, GROUPS, option_name
from rnnlab.messages import shown
from rnnlab.written import Written

Refusal = str | dict[str, str] | None
"""Why not, as a sentence without its full stop: of the option as a whole, or {KEY: why} of one of its keys."""


@dataclass(frozen=True)
class Plan:
    """A run that is planned.

    config: every key of it.
    parts: its components by group, or what is known of them so far.
    key: where in the configuration the component stands that is asked: `input_initialiser`.
    """

    config: Config
    parts: Mapping[str, Any]
    key: str = ""

    @property
    def task(self) -> Any:
        return self.parts["task"]

    @property
    def cell(self) -> Any:
        """A cell as the run's, of one replica, without numbers."""
        return self.parts["cell"]

    @property
    def parametrisation(self) -> Any:
        return self.parts["parametrisation"]

    def option(self, group: str) -> str:
        """The name of the option chosen in a group: `lstm`."""
        return option_name(self.config.components[group]["_target_"])

    def chosen(self, group: str) -> str:
        """The choice as the command line writes it: `cell=lstm`."""
        return f"{group}={self.option(group)}"

    def has(self, group: str) -> bool:
        """Whether anything but the group's neutral option is chosen."""
        return self.config.components[group]["_target_"] != GROUPS[group].neutral


def as_written(config: Config) -> Plan:
    """The plan of a configuration of which nothing is imported yet."""
    parts = {group: dict(part) for group, part in config.components.items()}
    if config.match_parameters is not None:
        del parts["cell"]["hidden"]  # not chosen yet
    return Plan(config, {group: Written(part.pop("_target_"), part) for group, part in parts.items()})


def refuse(plan: Plan) -> None:
    """Ask every component.

    Raises:
        ConfigError: of the first that makes no sense here.
    """
    for group in COMPONENTS:
        ask(plan, group)


def ask(plan: Plan, group: str) -> None:
    """Ask the component of a group; ConfigError where it makes no sense."""
    why, component = None, plan.parts[group]
    try:
        why = why_not(component, plan, group)
    except Exception:
        if not isinstance(component, Written):  # else: it is asked again when it is made
            raise
    if isinstance(why, str):
        neutral = GROUPS[group].neutral
        without = f", or {group}={option_name(neutral)}" if neutral else ""
        raise ConfigError(f"{plan.chosen(group)}: not allowed. {why}. Choose another{without}.")
    for key, reason in (why or {}).items():
        raise ConfigError(f"{group}.{key}={_given(plan.config.components[group], key)}: not allowed. {reason}.")


def _given(component: Mapping[str, Any], key: str) -> str:
    """The value of a key, which may be one of a component within: `rules.agc.ratio`."""
    value: Any = component
    for part in key.split("."):
        value = value[part]
    if isinstance(value, Mapping):
        return option_name(value["_target_"])
    return "null" if value is None else shown(value)


def why_not(component: Any, plan: Plan, key: str) -> Refusal:
    """What a component says of a plan; None where it says nothing, as most."""
    asked = getattr(component, "why_not", None)
    return None if asked is None else asked(replace(plan, key=key))
