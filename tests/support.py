"""For many test files: the YAML leaves, composed configurations, cells with every parameter drawn."""

from pathlib import Path

from rnnlab.laws.ground import (
    DTYPES,
    component,
    composed,
    drawn_cell,
    key,
    leaf,
    net_of,
    right_aligned_mask,
    uniform,
)
from rnnlab.written import Written

__all__ = ["DTYPES", "component", "composed", "drawn_cell", "key", "leaf", "net_of", "right_aligned_mask", "uniform"]

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
NO_COMPONENTS = ("experiment", "probes", "sweep")
GROUPS = sorted(p.name for p in CONFIGS.iterdir() if p.is_dir() and p.name not in NO_COMPONENTS)


def _steps(option: str) -> bool:
    """Whether it is a cell that has states, and so takes steps: all but `none`."""
    values = leaf("cell", option)
    return bool(Written(values["_target_"], values).states)


CELLS = sorted(p.stem for p in (CONFIGS / "cell").glob("*.yaml") if _steps(p.stem))
FUSED_CELLS = ["gru", "lstm", "rnn"]
ACTIVATIONS = sorted(p.stem for p in (CONFIGS / "activation").glob("*.yaml"))


def options(group: str) -> list[str]:
    """The options of one group, from its folder."""
    return sorted(p.stem for p in (CONFIGS / group).glob("*.yaml"))


def leaves() -> list[tuple[str, str]]:
    """(group, option) of every component in configs/."""
    return [(group, option) for group in GROUPS for option in options(group)]


def choice(group: str, option: str) -> str:
    """The command-line argument that chooses it; of one that holds others, what chooses these."""
    members = [name for value in leaf(group, option).values() if isinstance(value, dict) for name in value]
    if members:
        return f"{group}=[{','.join(members)}]"
    return f"+probe@probes.{option}={option}" if group == "probe" else f"{group}={option}"
