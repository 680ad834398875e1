"""The component that laws are held against: what it is, of which group, with which values."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnnlab.contract import OURS, ConfigError, Members, component_class, is_component, keys_of
from rnnlab.groups import GROUPS, option_name
from rnnlab.laws.candidates import first_allowed
from rnnlab.laws.ground import two_others
from rnnlab.make import make
from rnnlab.membership import groups_of

SIZES = {"hidden": 4, "batch": 5, "length": 12, "side": 32}
"""What is only a size is small here; a frame has room for the images of every source."""


@dataclass(frozen=True)
class Subject:
    """A component by its configuration.

    key: where it stands in one: `cell`, `probes.gates`.
    target: its `_target_`; values: its hyper-parameters.
    """

    key: str
    target: str
    values: Mapping[str, Any]

    @classmethod
    def of(
        cls, component: type | str | Mapping[str, Any], values: Mapping[str, Any] | None, group: str | None
    ) -> "Subject":
        """A marked class, its `_target_`, or a YAML's content.

        Args:
            values: hyper-parameters by name; one that is not given takes the first value that its type allows.
            group: its key in a configuration, where what it is does not tell: an initialiser may be one of biases.
        Raises:
            ConfigError: it is no component, or of no group, or a value is not allowed.
        """
        given = {**(component if isinstance(component, Mapping) else {}), **(values or {})}
        target = str(given.pop("_target_", ""))
        if isinstance(component, str):
            target = component
        elif is_component(component):
            target = f"{component.__module__}.{component.__qualname__}"
        elif not isinstance(component, Mapping):
            raise ConfigError(f"{component!r} is no component: mark its class with @component of rnnlab.contract.")
        group = group or _group_of(target)
        if group not in GROUPS:
            raise ConfigError(f"group={group}: there is no such group. There are: {', '.join(GROUPS)}.")
        key = f"{group}.{option_name(target)}" if group == "probes" else group
        kinds = keys_of(key, target)
        for name, kind in kinds.items():
            if name in SIZES:
                given[name] = SIZES[name]
            elif kind is Members and not given.get(name):
                given[name] = two_others(group)
            elif name not in given:
                given[name] = first_allowed(f"{key}.{name}", kind)
        return cls(key, target, given)

    @property
    def group(self) -> str:
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """As the command line writes a choice."""
        return f"{self.group}={self.target.rpartition('.')[2]}"

    @property
    def packages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([OURS, self.target.partition(".")[0]]))

    @property
    def config(self) -> dict[str, Any]:
        """As its YAML has it."""
        return {"_target_": self.target, **self.values}

    @functools.cached_property
    def kinds(self) -> dict[str, Any]:
        """The types of its hyper-parameters."""
        return keys_of(self.key, self.target)

    @property
    def cls(self) -> type:
        return component_class(self.key, self.target, self.packages)

    def changed(self, **values: Any) -> "Subject":
        """With other values of some hyper-parameters."""
        return replace(self, values={**self.values, **values})

    def make(self, **context: Any) -> Any:
        """The component."""
        return make(self.key, self.config, self.packages, **context)


def _group_of(target: str) -> str:
    """By the package, of one of ours; else by what its class is and has."""
    for group in GROUPS.values():
        if target.startswith(f"{group.package}."):
            return group.key
    first = target.partition(".")[0]
    fits = groups_of(component_class("task", target, (first,)))
    if not fits:
        raise ConfigError(f"{target} is a component of no group, by what it is and has. Say of which with group=…")
    return fits[0]
