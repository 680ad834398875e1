"""The configuration: what keys there are, and a checked one as an object. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rnnlab.contract import Count, CountOrZero, Positive
from rnnlab.groups import COMPONENTS, GROUPS, option_name

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
        return option_name(self.components[group]["_target_"])

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


def group_syntax(key: str) -> str:
    """How a group is written on the command line: two keys share the options of `initialiser`."""
    options = GROUPS[key].options
    return f"{options}@{key}" if options else key


def section_keys(section: str) -> list[str]:
    """The keys of a section: `every` and `keep` for `checkpoint`."""
    return [k.partition(".")[2] for k in SCALARS if k.startswith(section + ".")]
