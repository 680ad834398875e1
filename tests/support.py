"""For many test files: the YAML leaves, composed configurations, cells with every parameter drawn."""

import functools
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.architectures.single import Single
from rnnlab.cells.cell import Cell
from rnnlab.clipping.gradient_step import GradientStep, gradient_norm
from rnnlab.make import make

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
NO_COMPONENTS = ("experiment", "probes", "sweep")
GROUPS = sorted(p.name for p in CONFIGS.iterdir() if p.is_dir() and p.name not in NO_COMPONENTS)
CELLS = sorted(p.stem for p in (CONFIGS / "cell").glob("*.yaml"))
FUSED_CELLS = ["gru", "lstm", "rnn"]
ACTIVATIONS = sorted(p.stem for p in (CONFIGS / "activation").glob("*.yaml"))
PAIRS = sorted(
    {(c, a) for c in CELLS for a in ("tanh", "modrelu")} | {(c, a) for c in FUSED_CELLS for a in ACTIVATIONS}
)
"""(cell, activation) where all would take too long: every cell with an activation without and with parameters."""
DTYPES = [torch.float32, torch.float64]


def options(group: str) -> list[str]:
    """The options of one group, from its folder."""
    return sorted(p.stem for p in (CONFIGS / group).glob("*.yaml"))


def leaves() -> list[tuple[str, str]]:
    """(group, option) of every component in configs/."""
    return [(group, option) for group in GROUPS for option in options(group)]


def leaf(group: str, option: str, **changes: Any) -> dict[str, Any]:
    """A component's configuration as its YAML has it, with some values changed."""
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{option}.yaml"))
    assert isinstance(config, dict)
    assert set(changes) <= set(config), f"{option} has no {set(changes) - set(config)}"
    return {str(key): value for key, value in {**config, **changes}.items()}


def key(group: str, option: str) -> str:
    """Where a component stands in a configuration."""
    return f"probes.{option}" if group == "probe" else group


def choice(group: str, option: str) -> str:
    """The command-line argument that chooses it."""
    return f"+probe@probes.{option}={option}" if group == "probe" else f"{group}={option}"


def component(group: str, option: str, context: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The component that a YAML names, made."""
    return make(key(group, option), leaf(group, option, **changes), **(context or {}))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> Any:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def composed(*overrides: str) -> dict[str, Any]:
    """The raw configuration that these command-line arguments give; a new one at every call."""
    raw = OmegaConf.to_container(_composed(overrides), resolve=True)
    assert isinstance(raw, dict)
    return {str(key): value for key, value in raw.items()}


def uniform(*shape: int, seed: int, bound: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """U(-bound, bound), drawn in float64 so that float32 sees the same numbers."""
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((2 * drawn - 1) * bound).to(dtype)


def drawn_cell(
    option: str,
    activation: str = "tanh",
    *,
    replicas: int = 1,
    inputs: int = 3,
    hidden: int = 4,
    seed: int = 0,
    bound: float = 0.7,
    dtype: torch.dtype = torch.float64,
) -> Cell:
    """A cell whose every parameter, biases and activation parameters too, is drawn from U(-bound, bound)."""
    context = {"replicas": replicas, "units": hidden}
    made = component(
        "cell",
        option,
        {
            "replicas": replicas,
            "inputs": inputs,
            "activation": lambda: component("activation", activation, context),
        },
        hidden=hidden,
    )
    made = made.to(dtype)
    with torch.no_grad():
        for k, parameter in enumerate(made.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=1000 * seed + k, bound=bound))
    return made


def net_of(cell: Cell, *, outputs: int) -> Model:
    """A net of this one cell."""
    replicas = len(cell.weight_input)
    return Model(Single(), lambda inputs: cell, replicas=replicas, inputs=cell.inputs, outputs=outputs)


def gradient_step(
    *, bound: float = 1.0, seed: int = 0, memory: dict[str, Tensor] | None = None, dtype: torch.dtype = torch.float64
) -> GradientStep:
    """Gradients from U(-bound, bound) of two replicas of a small LSTM and its readout, for a clipping rule."""
    model = net_of(drawn_cell("lstm", replicas=2, dtype=dtype), outputs=2).to(dtype)
    with torch.no_grad():
        model.weight_output.copy_(uniform(2, 4, 2, seed=99))
    named = enumerate(model.named_parameters())
    gradients = {name: uniform(*p.shape, seed=100 * seed + k, bound=bound, dtype=dtype) for k, (name, p) in named}
    norm_R, usable_R = gradient_norm([*gradients.values()]), torch.ones(2, dtype=torch.bool)
    return GradientStep(model, gradients, norm_R, usable_R, {} if memory is None else memory)


def right_aligned_mask(steps: int, replicas: int, batch: int) -> Tensor:
    """(T, R, B): every example starts at a step of its own; the last step is everyone's."""
    start = (torch.arange(replicas * batch) * 3) % steps
    return torch.arange(steps).view(-1, 1, 1) >= start.view(replicas, batch)
