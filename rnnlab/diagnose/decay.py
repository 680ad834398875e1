"""How the gradient fares on its way back, read from one curve of gains. T time."""

import math
from itertools import pairwise

import numpy as np

from rnnlab.runs.adjoints import summarise

HALF = math.log10(2)
SMALLEST = float(np.finfo(np.float64).tiny)


def log_gain(gain_T: np.ndarray) -> np.ndarray:
    """log10; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.log10(gain_T)


def lost(gain_T: np.ndarray, lag: int) -> float:
    """Decades that are lost over the last `lag` steps, or over all where there are fewer, as of a decoder.

    Below zero where the gradient has grown; infinite for all.
    """
    return -float(log_gain(gain_T)[-1 - lag :][0])


def grown(gain_T: np.ndarray, lag: int) -> tuple[float, int]:
    """(decades, steps back) of the largest gain within the last `lag` steps."""
    way = log_gain(gain_T)[::-1][: lag + 1]
    if np.isnan(way).all():
        return math.nan, 0
    back = int(np.nanargmax(way))
    return float(way[back]), back


def slope(gain_T: np.ndarray, lag: int) -> float:
    """Decades lost per step back, least squares over the last `lag` steps; NaN where fewer than two are above zero."""
    return summarise(gain_T[-1 - lag :], SMALLEST).slope


def half_life(gain_T: np.ndarray, lag: int) -> float:
    """Steps back over which the gradient halves, by the fitted slope; infinite where it does not fall."""
    fitted = slope(gain_T, lag)
    return HALF / fitted if fitted > 0 else math.inf if fitted <= 0 else math.nan


def reach(gain_T: np.ndarray, share: float) -> int:
    """Steps back to the first step that less than this share arrives at; T where there is none."""
    below = np.flatnonzero(gain_T[::-1] < share)
    return int(below[0]) if len(below) else len(gain_T)


def span(gain_T: np.ndarray, lag: int) -> tuple[int, int] | None:
    """(first, last) time step, 1-based, between which four fifths of what is lost over the last `lag` steps are lost.

    None where nothing is lost. Where the gradient ends at 0, of what is lost down to there.
    """
    lost_way = -log_gain(gain_T)[::-1][: lag + 1]
    known = np.flatnonzero(np.isfinite(lost_way))
    total = lost_way[known[-1]] if len(known) else 0.0
    if total <= 0:
        return None
    near, far = (int(np.flatnonzero(lost_way >= share * total)[0]) for share in (0.1, 0.9))
    return len(gain_T) - far, len(gain_T) - near


def quarters(gain_T: np.ndarray, lag: int) -> list[float]:
    """Decades lost in each quarter of the way back, the one next to the last step first; [] for a way too short."""
    if lag < 4:
        return []
    way = log_gain(gain_T)[::-1]
    at = [round(lag * k / 4) for k in range(5)]
    with np.errstate(invalid="ignore"):
        return [float(way[a] - way[b]) for a, b in pairwise(at)]
