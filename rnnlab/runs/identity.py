"""What determines a run, and the name that follows from it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rnnlab.config import Config
from rnnlab.contract import members_of
from rnnlab.groups import GROUPS, NEUTRAL, option_name

# These choose where results go, how often they are saved, or how time and memory are spent; they change no result.
# match_parameters has, by then, become a cell.hidden.
IGNORED = ("name", "force", "checkpoint", "tensorboard", "threads", "recompute", "match_parameters")


def run_name(config: Config) -> str:
    """The choices that a reader compares: task-cell-activation-initialiser-[...]-optimiser.

    Groups are in the order of rnnlab.groups; one at its neutral option is not named.
    """
    named = [key for key, group in GROUPS.items() if group.named and config.components[key] != NEUTRAL.get(key)]
    return "-".join(_spoken(config.components[key]) for key in named)


def _spoken(component: Mapping[str, Any]) -> str:
    """The option, or those that it consists of: `agc+norm`."""
    targets = [member["_target_"] for member in members_of(component).values()] or [component["_target_"]]
    return "+".join(map(option_name, targets))


def run_id(config: Config, *, device: str, engine: str, sources: Mapping[str, str]) -> str:
    """The technique and eight hexadecimal digits of a hash over everything that determines the results.

    Args:
        device: the kind that will be used, `cpu` or `cuda`, whatever `device=auto` was resolved to.
        engine: likewise.
        sources: hashes of the user's own code and data, see rnnlab.runs.sources.
    Raises:
        ValueError: cell.hidden is still to be chosen (match_parameters); `rnnlab.build.build` does that.
    """
    determined = configuration_hash(config, device=device, engine=engine)
    if sources:
        determined = _hash({"configuration": determined, "sources": dict(sources)})
    return f"{run_name(config)}-{determined[:8]}"


def configuration_hash(config: Config, *, device: str, engine: str) -> str:
    """The same without the sources: of runs that differ in code or data alone it is the same."""
    if config.match_parameters is not None:
        raise ValueError("match_parameters: build the experiment first; its configuration has the cell.hidden chosen.")
    return hash_of_stored(config.resolved(), device=device, engine=engine)


def hash_of_stored(resolved: Mapping[str, Any], *, device: str, engine: str) -> str:
    """The same of plain data, as config.yaml holds them."""
    determining = {
        key: value for key, value in resolved.items() if key not in IGNORED and value != NEUTRAL.get(key, ...)
    }
    return _hash(determining | {"device": device, "engine": engine})


def hash_without_steps(resolved: Mapping[str, Any], *, device: str, engine: str) -> str:
    """The same of what is left without `steps`: of runs that differ in nothing else it is the same."""
    return hash_of_stored({k: v for k, v in resolved.items() if k != "steps"}, device=device, engine=engine)


def _hash(determining: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()
