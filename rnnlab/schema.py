"""The configuration: what keys there are, what they may be, and which combinations make no sense. Imports no torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rnnlab.contract import (
    OURS,
    ConfigError,
    Count,
    CountOrZero,
    Positive,
    Seed,
    check_component,
    check_value,
    common_to,
    meant,
)
from rnnlab.groups import COMPONENTS, GROUPS
from rnnlab.messages import listed, shown
from rnnlab.packages import KEY, WHERE
from rnnlab.probes.timetable import Timetable

SCALARS: dict[str, Any] = {
    "name": Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")],
    "steps": Count,
    "stop_when_solved": bool,
    "milestones": list[Positive],
    "match_parameters": Literal[None] | Count,
    "device": Literal["auto", "cpu", "cuda"],
    "dtype": Literal["float32", "float64"],
    "engine": Literal["auto", "fused", "scan", "autograd"],
    "threads": Literal["auto"] | Count,
    "recompute": CountOrZero,
    "precision": Literal["ieee", "tf32", "bf16", "fp16"],
    "force": bool,
    "log.every": Count,
    "evaluate.every": Count,
    "evaluate.examples": Count,
    "probe.every": CountOrZero,
    "checkpoint.every": Count,
    "checkpoint.keep": Count,
    "tensorboard": bool,
}
YOUNGER = {
    "gradient_noise": {"_target_": "rnnlab.gradient_noise.none.NoNoise"},
    "parametrisation": {"_target_": "rnnlab.parametrisations.none.NoParametrisation"},
    "regulariser": {"_target_": "rnnlab.regularisers.none.NoRegulariser"},
    "dropout": {"_target_": "rnnlab.dropout.none.NoDropout"},
}
"""Groups that a configuration may do without, as those stored before there was the group do, and what they are then."""
BLIND_TO_PARTS = {
    "clipping": {
        "agc": "It takes columns of a parameter for units, which those of a parametrisation are not.",
        "pascanu": "It shrinks recurrent weights; here those are made from parameters that it would stop.",
    },
    "optimiser": {"muon": "Its step is one for recurrent matrices; here those are made from other parameters."},
}
"""Why an option makes no sense where recurrent weights are not trained themselves."""
ORTHOGONAL = ("exponential", "cayley", "householder")
SQUARE_ONLY = ("identity", "henaff", "cayley", "nearly_identity", "spectral_radius")
SECTIONS = {key.split(".")[0] for key in SCALARS if "." in key}
TOP_KEYS = [*COMPONENTS, *(k for k in SCALARS if "." not in k), *sorted(SECTIONS), "seeds", "probes"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """A checked configuration. `components` maps a group to its `_target_` and hyper-parameters; `probes`, a name.

    `allowed_packages` are those that components may come from. The user allows them, see rnnlab.packages; no file does.
    """

    name: str
    seeds: list[int]
    steps: int
    stop_when_solved: bool
    milestones: list[float]
    match_parameters: int | None
    device: str
    dtype: str
    engine: str
    threads: int | str
    recompute: int
    precision: str
    force: bool
    log_every: int
    evaluate_every: int
    evaluate_examples: int
    probe_every: int
    checkpoint_every: int
    checkpoint_keep: int
    tensorboard: bool
    allowed_packages: tuple[str, ...]
    components: dict[str, dict[str, Any]]
    probes: dict[str, dict[str, Any]]

    def option(self, group: str) -> str:
        """The name of the option chosen in a group: `lstm` for rnnlab.cells.lstm.LSTM."""
        return self.components[group]["_target_"].split(".")[-2]

    def shipped(self, group: str) -> str:
        """The option's name when it is one of rnnlab's own, else ''."""
        return self.option(group) if self.components[group]["_target_"].startswith("rnnlab.") else ""

    def resolved(self) -> dict[str, Any]:
        """The nested form that YAML holds; reading it back gives this configuration."""
        result: dict[str, Any] = {group: dict(self.components[group]) for group in COMPONENTS}
        result["seeds"] = list(self.seeds)
        if self.probes:
            result["probes"] = {name: dict(probe) for name, probe in self.probes.items()}
        for key in SCALARS:
            section, _, leaf = key.partition(".")
            value = getattr(self, key.replace(".", "_"))
            if leaf:
                result.setdefault(section, {})[leaf] = value
            else:
                result[key] = value
        return result


def config_folder() -> Path:
    """configs/ of the checkout (also when installed editable), or the copy inside the wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "configs"
    return checkout if (package.parent / "pyproject.toml").exists() else package / "configs"


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
    _refuse_nonsense(config)
    return config


REQUIRED = {"cell": ("hidden",), "optimiser": ("lr", "recurrent_lr_factor"), "task": ("batch",)}
"""Keys that every component of a group has, a user's own included: other parts read them."""


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
    node = raw.get(group, YOUNGER.get(group))
    if node is None and group not in raw:
        raise ConfigError(f"{group}: missing. Choose an option of the group: {group_syntax(group)}=OPTION.")
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{group}={shown(node)}: not allowed. Choose an option of the group: {group_syntax(group)}=OPTION."
        )
    checked = check_component(group, node, packages)
    for name in REQUIRED.get(group, ()):
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


def section_keys(section: str) -> list[str]:
    """The keys of a section: `every` and `keep` for `checkpoint`."""
    return [k.partition(".")[2] for k in SCALARS if k.startswith(section + ".")]


def group_syntax(key: str) -> str:
    """How a group is written on the command line: two keys share the options of `initialiser`."""
    options = GROUPS[key].options
    return f"{options}@{key}" if options else key


def _seeds(value: Any) -> list[int]:
    if isinstance(value, list):
        seeds = [check_value("seeds", seed, Seed) for seed in value]
        if not seeds or len(set(seeds)) != len(seeds):
            raise ConfigError(
                f"seeds={shown(value)}: not allowed. A list of seeds must hold different seeds, at least one."
            )
        return seeds
    return list(range(check_value("seeds", value, Annotated[Count, Field(le=100_000)])))


def _refuse_nonsense(config: Config) -> None:
    """Combinations of allowed values that would do nothing, or not what they say."""
    parts = config.components
    task, adjoint, schedule = parts["task"], parts["adjoint"], parts["schedule"]
    if any(math.isclose(a, b) for a, b in zip(sorted(config.milestones), sorted(config.milestones)[1:], strict=False)):
        raise ConfigError(f"milestones={shown(config.milestones)}: not allowed. Milestones must differ.")
    if parts["cell"]["hidden"] == 1 and len(config.seeds) > 1:
        raise ConfigError(
            f"cell.hidden=1: not allowed with {len(config.seeds)} seeds. Products with one unit differ in the last bit "
            "between a population and a solo run; run the seeds one by one (seeds=[0], seeds=[1], …)."
        )
    plain = config.engine in ("autograd", "scan")
    if plain and config.threads not in ("auto", 1):
        raise ConfigError(
            f"threads={config.threads}: not allowed. engine={config.engine} computes on one thread, so that a replica "
            "is bit-identical to its solo run; allowed: auto, 1."
        )
    if plain and config.recompute:
        raise ConfigError(
            f"recompute={config.recompute}: not allowed. engine={config.engine} keeps every step; allowed: 0."
        )
    if config.recompute == 1:
        raise ConfigError(
            "recompute=1: not allowed. Every state would be kept and nothing computed again; allowed: 0, or 2 and more."
        )
    if config.precision != "ieee" and plain:
        raise ConfigError(
            f"precision={config.precision}: not allowed. engine={config.engine} multiplies what it is given; allowed: "
            "ieee."
        )
    if config.precision != "ieee" and config.dtype != "float32":
        raise ConfigError(
            f"precision={config.precision}: not allowed. It is for products of float32, not of dtype={config.dtype}; "
            "allowed: ieee."
        )
    if config.shipped("parametrisation") in ORTHOGONAL and config.shipped("regulariser") in ("l2", "orthogonality"):
        raise ConfigError(
            f"regulariser={config.option('regulariser')}: not allowed with "
            f"parametrisation={config.option('parametrisation')}. Orthogonal weights have the same penalty wherever "
            "they are; it would do nothing."
        )
    if config.shipped("regulariser") == "omega" and config.option("dropout") != "none":
        raise ConfigError(
            f"regulariser=omega: not allowed with dropout={config.option('dropout')}. Its penalty is that of the steps "
            "as they are without dropout; choose one of the two."
        )
    if config.option("parametrisation") != "none":
        for group, why in BLIND_TO_PARTS.items():
            if config.shipped(group) in why:
                raise ConfigError(
                    f"{group}={config.option(group)}: not allowed with "
                    f"parametrisation={config.option('parametrisation')}. {why[config.shipped(group)]}"
                )
    for group in ("input_initialiser", "output_initialiser"):
        if config.shipped(group) in SQUARE_ONLY:
            raise ConfigError(
                f"{group}={config.option(group)}: not allowed. These weights are not square; it serves recurrent "
                "weights only."
            )
    if config.match_parameters is None:
        refuse_sizes(config)
    longest = parts["bias_initialiser"].get("t_max")
    if config.shipped("bias_initialiser") == "chrono" and longest is not None and longest < 3:
        raise ConfigError(
            f"bias_initialiser.t_max={longest}: not allowed. Biases are drawn from log U(1, t_max - 1); at least 3."
        )
    if config.shipped("schedule") == "warmup_cosine" and schedule["warmup"] >= config.steps:
        raise ConfigError(
            f"schedule.warmup={schedule['warmup']}: not allowed. It must be below steps={config.steps}, or the "
            "learning rate never gets there."
        )
    optimiser = parts["optimiser"]
    dampening = optimiser.get("dampening", 0)
    if optimiser.get("nesterov") and (optimiser["momentum"] == 0 or dampening != 0):
        raise ConfigError(
            "optimiser.nesterov=True: not allowed. Nesterov's form needs optimiser.momentum above 0 and no dampening "
            f"(given: {optimiser['momentum']} and {dampening})."
        )
    length, shortest = task.get("length"), task.get("shortest")
    least = 2 if config.shipped("task") == "adding" else 1
    if length is not None and length < least:
        raise ConfigError(f"task.length={length}: not allowed. task.length must be at least {least}.")
    if shortest is not None and length is not None and not least <= shortest < length:
        raise ConfigError(
            f"task.shortest={shortest}: not allowed. It must be at least {least} and below task.length={length}, or "
            "null for equal lengths."
        )
    examples = task.get("examples")
    if examples is not None and examples < task["batch"]:
        raise ConfigError(
            f"task.examples={examples}: not allowed. A fixed set must hold at least task.batch={task['batch']}."
        )
    if config.shipped("task") == "copy" and not 2 <= task["alphabet"] <= 256:
        raise ConfigError(
            f"task.alphabet={task['alphabet']}: not allowed. From 2 (one symbol carries nothing to remember) to 256."
        )
    steps = _sequence_steps(config)
    if config.shipped("adjoint") in ("truncate", "truncate_random") and steps is not None and adjoint["every"] >= steps:
        raise ConfigError(
            f"adjoint.every={adjoint['every']}: not allowed. A sequence has {steps} steps, so this would cut nothing."
        )


def refuse_sizes(config: Config) -> None:
    """What does not go with cell.hidden; where match_parameters chooses that, to be asked when it has."""
    hidden, nonzeros = config.components["cell"]["hidden"], config.components["initialiser"].get("nonzeros")
    if config.shipped("initialiser") == "spectral_radius" and nonzeros is not None and nonzeros > hidden:
        raise ConfigError(
            f"initialiser.nonzeros={nonzeros}: not allowed. A unit has at most cell.hidden={hidden} connections."
        )


def _sequence_steps(config: Config) -> int | None:
    task = config.components["task"]
    if config.shipped("task") == "copy":
        return task["length"] + 2 * task["symbols"]
    if config.shipped("task") == "adding":
        return task["length"]
    return {"digits": 64, "mnist5k": 784}.get(task.get("source", ""))
