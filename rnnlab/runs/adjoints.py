"""The adjoint record of every run: |dL/dh_t| at every time step of probed updates, and the figures that sum it up."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LIVE = 1e-10
"""A step is live when its adjoint norm is at least this; Pascanu et al. 2013 count squares of 1e-20 and more."""


def is_recorded(step: int, every: int) -> bool:
    """Whether the step-th update (1-based) is probed: the first, then every `every`-th; never when `every` is 0."""
    return every > 0 and (step == 1 or step % every == 0)


@dataclass(frozen=True)
class Summary:
    """One state component's norms along a sequence, in five figures. NaN where one does not exist.

    slope: decades per time step, forward in t, least squares over the steps with a finite norm that `summarise` fits:
        above zero the adjoint vanishes on its way back, below zero it explodes.
    slope_error: its standard error; the steps' deviations from the line are taken as independent.
    ratio: norm at the first step over norm at the last.
    live: share of steps with a norm of at least LIVE.
    first_live: the first such step, 0-based.
    """

    slope: float = math.nan
    slope_error: float = math.nan
    ratio: float = math.nan
    live: float = math.nan
    first_live: float = math.nan

    @property
    def e_folding(self) -> float:
        """Steps back over which the norm falls by a factor e; below zero where it grows, infinite where it is level."""
        return 1 / (self.slope * math.log(10)) if self.slope else math.inf


def summarise(norm_T: np.ndarray, smallest: float) -> Summary:
    """The summary of one state component's norms.

    Args:
        norm_T: NaN where no example has the step.
        smallest: the smallest normal number of the run's dtype, `torch.finfo(dtype).tiny`. Norms below it are not
            fitted: they no longer fall as the adjoint would. Where a step's factor is at least a half, rounding holds
            them at the smallest number that there is.
    """
    present = np.flatnonzero(~np.isnan(norm_T))
    if len(present) == 0:
        return Summary()
    first, last = float(norm_T[present[0]]), float(norm_T[present[-1]])  # NumPy's would warn of an overflow
    ratio = first / last if last > 0 and math.isfinite(first) and math.isfinite(last) else math.nan
    fitted = np.flatnonzero(np.isfinite(norm_T) & (norm_T >= smallest) & (norm_T > 0))
    slope = error = math.nan
    if len(fitted) >= 2:
        slope, error = _slope(fitted - fitted.mean(), np.log10(norm_T[fitted]))
    live = np.flatnonzero(norm_T >= LIVE)
    first_live = float(live[0]) if len(live) else math.nan
    return Summary(slope, error, ratio, len(live) / len(present), first_live)


def _slope(centred: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The least-squares slope over an x whose mean was taken off, and its standard error.

    A tenth of the time of a general fit. Two points have no error to tell.
    """
    y, squares = y - y.mean(), centred @ centred
    slope = centred @ y / squares
    residual = y - slope * centred
    error = math.sqrt(residual @ residual / (len(y) - 2) / squares) if len(y) > 2 else math.nan
    return float(slope), error


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

    def add(self, step: int, active: list[int], norm_RST: np.ndarray) -> np.ndarray:
        """Store one probed step; replicas that have ended hold NaN. Returns what was stored, (R, S, T).

        A net whose cells take fewer steps than the sequence has (rows of an image, say) gives fewer; NaN after.
        """
        full = np.full((len(self.seeds), len(self.states), self.length), np.nan)
        full[[self.seeds.index(s) for s in active], :, : norm_RST.shape[-1]] = norm_RST
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
        """Take over the rows of an earlier session; ValueError where they are of another net."""
        norm_PRST, shape = state["norm"].numpy(), (len(self.seeds), len(self.states), self.length)
        if norm_PRST.shape != (len(state["step"]), *shape) or norm_PRST.dtype != np.float64:
            raise ValueError(f"norms of shape {norm_PRST.shape}")
        rising = all(type(step) is int for step in state["step"]) and sorted({0, *state["step"]})[1:] == state["step"]
        if not rising or (norm_PRST < 0).any():
            raise ValueError("its adjoint norms are not what a run records")
        self.step, self.norm_RST = list(state["step"]), list(norm_PRST)
