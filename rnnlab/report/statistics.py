"""Estimates of one arm and their 95 % intervals: a share of seeds, an interquartile mean. Imports no torch.

An arm is one configuration; its sample is one number per seed. Why these estimates: docs/decisions/0014.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
RESAMPLES = 9999
AT_ONCE = 2**22
"""Values drawn at once: all, of up to 419. Drawn whole, 100,000 seeds would need 24 GB."""


@dataclass(frozen=True)
class Interval:
    """What is held plausible at 95 %; an end is infinite where the sample bounds nothing."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, which always holds it."""

    value: float
    low: float
    high: float


def wilson(successes: float, n: float) -> Interval:
    """The score interval of a share; at 0 of n and n of n it still has a width, where Wald's has none.

    Args:
        successes: 0 <= successes <= n.
        n: how many; need not be whole (a survival curve has an effective n).
    Raises:
        ValueError: n is not above 0, or successes are not among n.
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"wilson: {successes} successes of {n}; n must be above 0, and successes from 0 to n.")
    share, spread = successes / n, Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # In exact arithmetic the share is always inside; rounding must not put it outside.
    return Interval(max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def iqm(
    values: ArrayLike, rng: np.random.Generator, strata: ArrayLike | None = None, *, worst: float | None = None
) -> Estimate:
    """The interquartile mean, with a stratified percentile bootstrap.

    A quarter of the values, rounded down, is cut from each end: below four values it is the mean. The interval needs
    two values in every stratum, else it is (-inf, inf). Of two or three values it spans their range, whatever they
    are, and of equal values it has no width: read it as the seeds at hand, not as 95 %.

    Args:
        values: (N,) one per seed.
        rng: draws the resamples.
        strata: (N,) labels; resampling stays inside a label (a task, say). None: one stratum.
        worst: what a NaN, the outcome of a diverged seed, counts as: inf for a loss, say. To leave the seed out would
            reward divergence, so without `worst` a NaN is refused.
    Raises:
        ValueError: no values, a NaN without `worst`, both infinities, or not one label per value.
    Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice.
    """
    sample = _with_worst(one_axis("iqm", values), worst)
    labels = np.zeros(len(sample)) if strata is None else np.asarray(strata)
    if labels.shape != sample.shape:
        raise ValueError(f"iqm: strata of shape {labels.shape} for {len(sample)} values; one label per value.")
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    value = float(_iqm(sample))
    if min(map(len, members)) < 2:
        return Estimate(value, -math.inf, math.inf)
    # Order statistics, no interpolation: between a finite value and an infinite one there is nothing.
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    resampled = np.concatenate([_iqm(sample[chosen]) for chosen in _resamples(members, rng)])
    low, high = np.quantile(resampled, ends, method="inverted_cdf").tolist()
    return Estimate(value, min(value, low), max(value, high))


def _resamples(members: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Places of the values, one resample a row, RESAMPLES rows in all; each array with as many as `AT_ONCE` allows."""
    rows = max(1, AT_ONCE // sum(map(len, members)))
    for first in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - first)
        yield np.concatenate([rng.choice(m, size=(count, len(m))) for m in members], axis=1)


def _iqm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interquartile means along the last axis."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1))


def _with_worst(sample: NDArray[np.float64], worst: float | None) -> NDArray[np.float64]:
    missing = np.isnan(sample)
    if missing.any() and worst is None:
        raise ValueError(f"iqm: {missing.sum()} of {len(sample)} values are NaN; say with worst=… what they count as.")
    filled = np.where(missing, np.nan if worst is None else worst, sample)
    if np.isinf(filled).any() and len(np.unique(filled[np.isinf(filled)])) == 2:
        raise ValueError("iqm: both inf and -inf among the values; a diverged seed is either the one or the other.")
    return filled


def one_axis(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """The values as a float64 array of one axis that is not empty, or a ValueError that names the caller."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"{name}: values of shape {sample.shape}; one axis with one value at least is needed.")
    return sample
