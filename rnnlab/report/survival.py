"""Steps to solve as survival analysis: a run that has not solved its task yet is known to need longer. No torch."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rnnlab.report.statistics import Estimate, Interval, one_axis, wilson


@dataclass(frozen=True)
class Curve:
    """The share of seeds unsolved after a number of updates, a step function continuous from the right.

    `step` (K,) begins with 0 and holds every step where a run was solved or censored; `unsolved_share`, `low` and
    `high` (K,) hold from that step to the next. The interval is that of one step, not of the whole curve.
    """

    step: NDArray[np.float64]
    unsolved_share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def median(self) -> float | None:
        """The first step by which half of the seeds are solved; None where under half ever are."""
        first = self._first_at_half(self.unsolved_share)
        return None if math.isinf(first) else first

    @property
    def median_interval(self) -> Interval:
        """The steps that the pointwise intervals do not exclude as median; inf: later than anything observed.

        With fewer than four seeds it is always (0, inf). Brookmeyer & Crowley 1982.
        """
        end = float(self.step[-1])  # all that is known of a later median is that it is later
        return Interval(min(self._first_at_half(self.low), end), self._first_at_half(self.high))

    def _first_at_half(self, share: NDArray[np.float64]) -> float:
        below = np.flatnonzero(share <= 0.5 + 1e-12)
        return float(self.step[below[0]]) if len(below) else math.inf


def kaplan_meier(
    steps: ArrayLike, solved: ArrayLike, *, diverged: ArrayLike | None = None, budget: ArrayLike | None = None
) -> Curve:
    """The product-limit estimate of the share of seeds unsolved after each number of updates.

    An unsolved run is censored where it ended. A diverged one is not censored where it diverged: that would say that
    it might have been solved later, like those that went on, and an arm that kills its slow seeds would look fast. It
    never will be, so it counts as unsolved up to its budget, the step to which it would have been followed (with
    divergence as a competing event this makes the curve one minus the cumulative incidence of being solved).

    Args:
        steps: (N,) updates at which each run was solved, or ended unsolved.
        solved: (N,) bool.
        diverged: (N,) bool; these runs count as unsolved up to `budget`. None: none diverged.
        budget: scalar or (N,), updates that the runs were allowed; needed with `diverged`.
    Returns:
        The curve. Its intervals are Wilson's with the effective n that Greenwood's variance implies (Rothman 1978):
        with no run censored before a step, exactly `wilson` of the unsolved runs, and never without width.
    Raises:
        ValueError: lengths differ, a step is negative or not finite, a run is both solved and diverged, no budget.
    Kaplan & Meier 1958, Nonparametric estimation from incomplete observations; for the competing event, Gray 1988, A
    class of K-sample tests for comparing the cumulative incidence of a competing risk.
    """
    step, event = _observed(steps, solved, diverged, budget)
    survival = stats.ecdf(stats.CensoredData.right_censored(step, ~event)).sf
    at, share = survival.quantiles, survival.probabilities
    followed = np.array([np.sum(step >= k) for k in at])
    events = np.array([np.sum(step[event] == k) for k in at])
    effective = _effective_n(share, followed, events)
    if at[0] > 0:
        at, share, effective = np.r_[0.0, at], np.r_[1.0, share], np.r_[len(step), effective]
    intervals = [wilson(s * n, n) for s, n in zip(share, effective, strict=True)]
    return Curve(at, share, np.array([i.low for i in intervals]), np.array([i.high for i in intervals]))


def restricted_mean(curve: Curve, horizon: float) -> Estimate:
    """The mean number of updates up to `horizon` that a seed spends unsolved: the area under the curve.

    With no run censored before the horizon it is the mean of min(steps, horizon), unsolved and diverged seeds counting
    as the horizon. The interval is the area under the curve's lower and upper limits: wider than 95 % asks for, but
    not without width where all seeds agree.

    Raises:
        ValueError: the horizon is not above 0, or beyond the last step to which an unsolved run was followed.
    """
    if not 0 < horizon < math.inf:
        raise ValueError(f"restricted_mean: horizon={horizon}; it must be above 0 and finite.")
    if horizon > curve.step[-1] and curve.unsolved_share[-1] > 0:
        raise ValueError(f"restricted_mean: horizon={horizon}; the runs were followed to step {curve.step[-1]:g} only.")
    before = curve.step < horizon
    width = np.diff(np.append(curve.step[before], horizon))
    return Estimate(*(float(width @ height[before]) for height in (curve.unsolved_share, curve.low, curve.high)))


def _observed(
    steps: ArrayLike, solved: ArrayLike, diverged: ArrayLike | None, budget: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Step (N,) to which each run is known, and whether it was solved there."""
    step, event = one_axis("kaplan_meier", steps), np.asarray(solved, dtype=bool)
    died = np.zeros(len(step), dtype=bool) if diverged is None else np.asarray(diverged, dtype=bool)
    if not step.shape == event.shape == died.shape:
        raise ValueError(f"kaplan_meier: shapes {step.shape}, {event.shape}, {died.shape}; one entry per run in each.")
    if (event & died).any():
        raise ValueError("kaplan_meier: a run is both solved and diverged.")
    if died.any():
        if budget is None:
            raise ValueError("kaplan_meier: diverged runs, but no budget; they count as unsolved up to their budget.")
        step = np.where(died, np.asarray(budget, dtype=np.float64), step)
    if not (np.isfinite(step) & (step >= 0)).all():
        raise ValueError("kaplan_meier: steps must be finite, 0 or more; an unsolved run has the step where it ended.")
    return step, event


def _effective_n(
    share: NDArray[np.float64], followed: NDArray[np.int64], events: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The n of a binomial share with the same variance as Greenwood's; its limits where that is 0 or 0 times inf."""
    before = np.r_[1.0, share[:-1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(events / (followed * (followed - events)))
        inside = (1 - share) / (share * greenwood)
        # With the last followed runs solved at once; afterwards nobody is followed, so this is the last entry.
        end = followed / before
    return np.where(share == 1, followed, np.where(share == 0, end, inside))
