"""What laws stand on: rnnlab's own options by name, numbers that look drawn, small nets.

T time, R replica, B batch, H hidden.
"""

import copy
import functools
import io
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.architectures.single import Single
from rnnlab.cells.cell import Cell, Grid
from rnnlab.config import config_folder
from rnnlab.groups import GROUPS
from rnnlab.make import make
from rnnlab.source import lineage

DTYPES = [torch.float32, torch.float64]


@functools.cache
def _content(group: str, option: str) -> dict[str, Any]:
    """Of a YAML: plain values."""
    config = OmegaConf.to_container(OmegaConf.load(config_folder() / group / f"{option}.yaml"))
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def leaf(group: str, option: str, **changes: Any) -> dict[str, Any]:
    """A component's configuration as its YAML has it, with some values changed."""
    config = _content(group, option)
    assert set(changes) <= set(config), f"{option} has no {set(changes) - set(config)}"
    members = {name: two_others(group) for name, value in config.items() if value == {}}
    return {**config, **members, **changes}


def two_others(group: str) -> dict[str, Any]:
    """For an option that holds others of its group: the first two that do something and go with everything."""
    found, neutral = {}, GROUPS[group].neutral
    for path in sorted((config_folder() / group).glob("*.yaml")):
        config = _content(group, path.stem)
        picky = any(
            getattr(item, "name", "") == "why_not" for node in lineage(config["_target_"]) for item in node.body
        )
        if config["_target_"] != neutral and not picky:
            found[path.stem] = dict(config)
    return dict(list(found.items())[:2])


def key(group: str, option: str) -> str:
    """Where a component stands in a configuration."""
    return f"probes.{option}" if group == "probe" else group


def component(group: str, option: str, context: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The component that a YAML names, made."""
    return make(key(group, option), leaf(group, option, **changes), **(context or {}))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> Any:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)


def composed(*overrides: str) -> dict[str, Any]:
    """The raw configuration that these command-line arguments give; a new one at every call."""
    return copy.deepcopy(_composed(overrides))


def from_file(state: Any) -> Any:
    """What a checkpoint's file gives back of a state."""
    written = io.BytesIO()
    torch.save(state, written)
    return torch.load(io.BytesIO(written.getvalue()), weights_only=True)


def uniform(*shape: int, seed: int, bound: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """U(-bound, bound), drawn in float64 so that float32 sees the same numbers."""
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((2 * drawn - 1) * bound).to(dtype)


def draw(cell: Cell, *, seed: int = 0, bound: float = 0.7, dtype: torch.dtype = torch.float64) -> Cell:
    """Every parameter, biases and activation parameters too, from U(-bound, bound)."""
    cell = cell.to(dtype)
    with torch.no_grad():
        for k, parameter in enumerate(cell.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=1000 * seed + k, bound=bound))
    return cell


def drawn_cell(
    option: str,
    activation: str = "tanh",
    *,
    replicas: int = 1,
    inputs: int = 3,
    hidden: int = 4,
    grid: Grid = (1, 1),
    seed: int = 0,
    bound: float = 0.7,
    dtype: torch.dtype = torch.float64,
    **changes: Any,
) -> Cell:
    """One of rnnlab's own cells, drawn."""
    context = {"replicas": replicas, "units": hidden}
    made = component(
        "cell",
        option,
        {
            "replicas": replicas,
            "inputs": inputs,
            "outputs": 2,
            "grid": grid,
            "activation": lambda: component("activation", activation, context),
        },
        hidden=hidden,
        **changes,
    )
    return draw(made, seed=seed, bound=bound, dtype=dtype)


def net_of(cell: Cell, *, outputs: int) -> Model:
    """A net of this one cell."""
    replicas = len(cell.weight_input)
    sizes = Sizes(replicas=replicas, inputs=cell.inputs, outputs=outputs, hidden=cell.hidden)
    return Model(Single(), lambda inputs: cell, sizes)


def right_aligned_mask(steps: int, replicas: int, batch: int) -> Tensor:
    """(T, R, B): every example starts at a step of its own; the last step is everyone's."""
    start = (torch.arange(replicas * batch) * 3) % steps
    return torch.arange(steps).view(-1, 1, 1) >= start.view(replicas, batch)
