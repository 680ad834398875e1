"""From plain data to a checked configuration: what is wrong is told by its key. Imports no torch."""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field

from rnnlab.config import SCALARS, TOP_KEYS, Config, group_syntax, section_keys
from rnnlab.contract import (
    OURS,
    ConfigError,
    Count,
    Seed,
    check_component,
    check_value,
    common_to,
)
from rnnlab.groups import COMPONENTS, GROUPS, NEUTRAL
from rnnlab.messages import listed, shown
from rnnlab.packages import KEY, WHERE
from rnnlab.plan import as_written, refuse
from rnnlab.spelling import meant
from rnnlab.timetable import Timetable


def validate(raw: Mapping[str, Any], packages: Collection[str] = (OURS,)) -> Config:
    """The checked configuration.

    Args:
        packages: that the user allows components to come from; see rnnlab.packages.
    Raises:
        ConfigError: the first thing that is wrong, with its key, its value and what is allowed.
    """
    if KEY in raw:
        raise ConfigError(no_such_key(f"{KEY}={shown(raw[KEY])}", KEY, [], ""))
    for key in raw:
        if key in ("experiment", "sweep"):
            raise ConfigError(
                f"{key}={shown(raw[key])}: not allowed. Such a file must begin with the line "
                "'# @package _global_' (and no byte order mark)."
            )
        if key not in TOP_KEYS:
            raise ConfigError(no_such_key(f"{shown(key)}={shown(raw[key])}", key, TOP_KEYS, ""))
    values = {key.replace(".", "_"): _scalar(raw, key, kind) for key, kind in SCALARS.items()}
    groups = {group: _component(raw, group, packages) for group in COMPONENTS}
    config = Config(
        **values,
        seeds=_seeds(raw.get("seeds")),
        allowed_packages=tuple(packages),
        components=groups,
        probes=_probes(raw.get("probes"), packages),
    )
    _refuse_contradictions(config)
    refuse(as_written(config))
    return config


def _scalar(raw: Mapping[str, Any], key: str, kind: Any) -> Any:
    section, _, leaf = key.partition(".")
    if leaf:
        node = raw.get(section, {})
        if not isinstance(node, Mapping):
            raise ConfigError(f"{section}={shown(node)}: not allowed. Set {key} instead.")
        for name in node:
            if name not in section_keys(section):
                given = f"{section}.{shown(name)}={shown(node[name])}"
                raise ConfigError(no_such_key(given, f"{section}.{name}", section_keys(section), section))
    else:
        node, leaf = raw, key
    if leaf not in node:
        raise ConfigError(f"{key}: missing. Give it a value: {key}=VALUE.")
    return check_value(key, node[leaf], kind)


def _component(raw: Mapping[str, Any], group: str, packages: Collection[str]) -> dict[str, Any]:
    node = raw.get(group, NEUTRAL.get(group))
    if node is None and group not in raw:
        raise ConfigError(f"{group}: missing. Choose an option of the group: {group_syntax(group)}=OPTION.")
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{group}={shown(node)}: not allowed. Choose an option of the group: {group_syntax(group)}=OPTION."
        )
    checked = check_component(group, node, packages)
    for name in GROUPS[group].keys:
        if name not in checked:
            raise ConfigError(f"{group}.{name}: missing. Every component of the group {group} has the key {name}.")
    return checked


def _probes(node: Any, packages: Collection[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(node, Mapping | None):
        raise ConfigError(
            f"probes={shown(node)}: not allowed. Choose a bundle: probes=none, or add +probe@probes.NAME=NAME."
        )
    for name, probe in (node or {}).items():
        if not isinstance(probe, Mapping):
            raise ConfigError(
                f"probes.{shown(name)}={shown(probe)}: not allowed. Add a probe with +probe@probes.NAME=NAME, set "
                "its keys with probes.NAME.KEY=VALUE, or leave it out with ~probes.NAME."
            )
    probes = {str(name): check_component(f"probes.{name}", probe, packages) for name, probe in (node or {}).items()}
    for name, probe in probes.items():
        if Timetable.of(probe).empty:
            raise ConfigError(
                f"probes.{name}: not allowed. It would never run: {', '.join(common_to('probes'))} are all 0. Leave it "
                f"out with ~probes.{name}."
            )
    return probes


def no_such_key(given: str, key: str, known: list[str], parent: str) -> str:
    """What to say of a key that does not exist, `given` with its value; what it is meant as goes first."""
    if key == KEY:
        return f"{given}: not allowed in a configuration, which may be anybody's. Give it {WHERE}."
    return f"{given}: no such key.{meant(key, known)} {parent or 'The configuration'} has: {listed(known)}."


def _seeds(value: Any) -> list[int]:
    if isinstance(value, list):
        seeds = [check_value("seeds", seed, Seed) for seed in value]
        if not seeds or len(set(seeds)) != len(seeds):
            raise ConfigError(
                f"seeds={shown(value)}: not allowed. A list of seeds must hold different seeds, at least one."
            )
        return seeds
    return list(range(check_value("seeds", value, Annotated[Count, Field(le=100_000)])))


def _refuse_contradictions(config: Config) -> None:
    """Plain keys that do nothing beside others. What components make no sense with, they say: see rnnlab.plan."""
    if any(math.isclose(a, b) for a, b in zip(sorted(config.milestones), sorted(config.milestones)[1:], strict=False)):
        raise ConfigError(f"milestones={shown(config.milestones)}: not allowed. Milestones must differ.")
    if config.components["cell"]["hidden"] == 1 and len(config.seeds) > 1:
        raise ConfigError(
            f"cell.hidden=1: not allowed with {len(config.seeds)} seeds. Products with one unit differ in the last bit "
            "between a population and a solo run; run the seeds one by one (seeds=[0], seeds=[1], …)."
        )
    if config.recompute == 1:
        raise ConfigError(
            "recompute=1: not allowed. Every state would be kept and nothing computed again; allowed: 0, or 2 and more."
        )
    if config.precision != "ieee" and config.dtype != "float32":
        raise ConfigError(
            f"precision={config.precision}: not allowed. It is for products of float32, not of dtype={config.dtype}; "
            "allowed: ieee."
        )
    if config.engine in ("autograd", "scan"):
        _refuse_of_fused(config)


def _refuse_of_fused(config: Config) -> None:
    """Keys that the fused engine alone can follow."""
    for key, neutral, why in (
        ("threads", ("auto", 1), "computes on one thread, so that a replica is bit-identical to its solo run"),
        ("recompute", (0,), "keeps every step"),
        ("precision", ("ieee",), "multiplies what it is given"),
    ):
        if getattr(config, key) not in neutral:
            allowed = ", ".join(map(str, neutral))
            raise ConfigError(
                f"{key}={getattr(config, key)}: not allowed. engine={config.engine} {why}; allowed: {allowed}."
            )
