"""The adjoint record of every run: |dL/dh_t| at every time step of probed updates, and the figures that sum it up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

LIVE = 1e-10
"""A step is live when its adjoint norm is at least this; Pascanu et al. 2013 count squares of 1e-20 and more."""


def wants(step: int, every: int) -> bool:
    """Whether the step-th update (1-based) is probed: the first, then every `every`-th; never when `every` is 0."""
    return every > 0 and (step == 1 or step % every == 0)


def batch_mean(norm_STRB: Tensor, mask_TRB: Tensor | None) -> Tensor:
    """(R, S, T) float64: the mean over the examples that have the step; NaN where none has it."""
    if mask_TRB is None:
        return norm_STRB.mean(-1).permute(2, 0, 1)
    live = mask_TRB.to(norm_STRB.dtype)
    return ((norm_STRB * live).sum(-1) / live.sum(-1)).permute(2, 0, 1)


@dataclass(frozen=True)
class Summary:
    """slope: decades per time step, forward in t, least squares over the steps with a finite norm above zero;
    ratio: norm at the first step over norm at the last; live: share of steps with a norm of at least LIVE.
    """

    slope: float
    ratio: float
    live: float


def summarise(norm_T: np.ndarray) -> Summary:
    """The summary of one state component's norms, (T,). NaN where a figure does not exist."""
    present = np.flatnonzero(~np.isnan(norm_T))
    if len(present) == 0:
        return Summary(float("nan"), float("nan"), float("nan"))
    first, last = norm_T[present[0]], norm_T[present[-1]]
    ratio = float(first / last) if last > 0 and np.isfinite([first, last]).all() else float("nan")
    fitted = np.flatnonzero(np.isfinite(norm_T) & (norm_T > 0))
    slope = float("nan")
    if len(fitted) >= 2:
        slope = _slope(fitted - fitted.mean(), np.log10(norm_T[fitted]))
    return Summary(slope, ratio, float(np.mean(norm_T[present] >= LIVE)))


def _slope(centred: np.ndarray, y: np.ndarray) -> float:
    """The least-squares slope over an x whose mean was taken off (a tenth of the time of a general fit)."""
    return float(centred @ (y - y.mean()) / (centred @ centred))


class AdjointRecord:
    """The adjoint norms of all probed steps: what `adjoints.npz` holds.

    Args:
        seeds: (R,), all replicas, also those that have ended.
        states: names of the S state components.
        steps: T.
    """

    def __init__(self, seeds: list[int], states: tuple[str, ...], steps: int) -> None:
        self.seeds, self.states, self.length = list(seeds), states, steps
        self.step: list[int] = []
        self.norm_RST: list[np.ndarray] = []

    def add(self, step: int, active: list[int], norm_RST: Tensor) -> np.ndarray:
        """Store one probed step; replicas that have ended hold NaN. Returns what was stored, (R, S, T)."""
        full = np.full((len(self.seeds), len(self.states), self.length), np.nan)
        full[[self.seeds.index(s) for s in active]] = norm_RST.cpu().numpy()
        self.step.append(step)
        self.norm_RST.append(full)
        return full

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the contract: step (P,), seed (R,), norm (P, R, S, T) float64, state (S,)."""
        shape = (0, len(self.seeds), len(self.states), self.length)
        return {
            "step": np.array(self.step, dtype=np.int64),
            "seed": np.array(self.seeds, dtype=np.int64),
            "norm": np.stack(self.norm_RST) if self.norm_RST else np.zeros(shape),
            "state": np.array(self.states),
        }

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: plain numbers and a tensor."""
        return {"step": list(self.step), "norm": torch.from_numpy(self.arrays()["norm"])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the rows of an earlier session."""
        self.step = [int(s) for s in state["step"]]
        self.norm_RST = list(state["norm"].numpy())
