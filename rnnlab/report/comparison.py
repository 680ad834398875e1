"""The numbers of a comparison: a row per arm, their order, and pairs. The statistics themselves are next door."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnlab.report.arms import Arm, Replica, Section, Setting, form_arms
from rnnlab.report.pairs import Improvement
from rnnlab.report.ranking import Ranking, rank
from rnnlab.report.standing import standings
from rnnlab.report.statistics import Estimate, Interval, iqm, wilson
from rnnlab.report.survival import Curve, kaplan_meier, restricted_mean

LEVEL = 0.05
"""The chance of telling two arms of a section apart that do not differ, over all its pairs."""
MOST_PAIRS = 100
"""Arms from the first whose pairs are told one by one: 4,950 pairs. All pairs count, in order, places and groups."""


@dataclass(frozen=True)
class Row:
    """What is known about one arm.

    Attributes:
        places: first and last rank that the comparison does not exclude.
        letters: arms that share one were not told apart.
        score: mean probability that one of its seeds beats a seed of another arm.
        restricted: mean updates that a seed spends unsolved, up to the comparison's horizon; None where the seeds were
            not followed that far yet.
        metric: interquartile mean of the final metric; None where no seed was evaluated.
        seconds_per_step: per seed and update; None where no run tells.
        cost: training seconds of all seeds, solved or not, per solved one; None where none was.
    """

    arm: Arm
    places: tuple[int, int]
    letters: str
    score: float
    seeds: int
    solved: int
    share: Interval
    diverged: int
    undecided: int
    curve: Curve
    restricted: Estimate | None
    metric: Estimate | None
    seconds_per_step: float | None
    cost: float | None


@dataclass(frozen=True)
class Pair:
    """Arm a beside arm b, a before b in the order; `adjusted`: the p-value after Holm's correction."""

    a: str
    b: str
    improvement: Improvement
    adjusted: float

    @property
    def apart(self) -> bool:
        return self.adjusted <= LEVEL


@dataclass(frozen=True)
class Comparison:
    """A section's results: rows in their order, best first; pairs in the order of their arms, of the first MOST_PAIRS.

    Attributes:
        horizon: updates up to which the restricted means count: the smallest budget among the arms.
    """

    section: Section
    rows: list[Row]
    pairs: list[Pair]
    groups: list[list[str]]
    horizon: int

    @property
    def pairs_in_all(self) -> int:
        return math.comb(len(self.rows), 2)


def compare(section: Section, rng: np.random.Generator) -> Comparison:
    """Form the section's arms, and compare them."""
    form_arms(section, best_setting)
    arms = section.arms
    named = _named([arm.label for arm in arms], [arm.setting for arm in arms])
    ranking = rank(named, lower_is_better=False, told=MOST_PAIRS)
    horizon = min(replica.budget for arm in arms for replica in arm.replicas)
    by_label = {arm.label: arm for arm in arms}
    worst = _worst_metric(arms, section.said("metric_better"))
    rows = [_row(by_label[label], ranking, horizon, worst, rng) for label in ranking.order]
    pairs = [Pair(a, b, pair, ranking.adjusted[a, b]) for (a, b), pair in ranking.pairs.items()]
    return Comparison(section, rows, pairs, ranking.groups, horizon)


def best_setting(tried: Sequence[Setting]) -> Setting:
    """The setting whose seeds most often beat those of the technique's other settings; the smallest, where equal."""
    ranking = rank(_named([f"{place:06}" for place in range(len(tried))], tried), lower_is_better=False, told=0)
    return tried[int(ranking.order[0])]


def _named(names: Sequence[str], settings: Sequence[Setting]) -> dict[str, np.ndarray]:
    return dict(zip(names, standings([setting.replicas for setting in settings]), strict=True))


def _row(arm: Arm, ranking: Ranking, horizon: int, worst: float, rng: np.random.Generator) -> Row:
    replicas = arm.replicas
    solved = sum(replica.solved for replica in replicas)
    curve = solve_curve(arm)
    followed = curve.step[-1] >= horizon or curve.unsolved_share[-1] == 0
    seconds_per_step, cost = _time(arm, solved)
    return Row(
        arm=arm,
        places=ranking.places[arm.label],
        letters=ranking.letters[arm.label],
        score=ranking.score[arm.label],
        seeds=len(replicas),
        solved=solved,
        share=wilson(solved, len(replicas)),
        diverged=sum(_diverged(replica) for replica in replicas),
        undecided=sum(replica.undecided for replica in replicas),
        curve=curve,
        restricted=restricted_mean(curve, horizon) if followed else None,
        metric=_metric(arm, worst, rng),
        seconds_per_step=seconds_per_step,
        cost=cost,
    )


def solve_curve(arm: Arm) -> Curve:
    """The share of seeds unsolved after a number of updates; unfinished seeds are censored where they stand."""
    replicas = arm.replicas
    return kaplan_meier(
        [r.outcome.steps if r.outcome.steps_to_solve is None else r.outcome.steps_to_solve for r in replicas],
        [r.solved for r in replicas],
        diverged=[_diverged(r) for r in replicas],
        budget=[r.budget for r in replicas],
    )


def _diverged(replica: Replica) -> bool:
    return replica.outcome.status == "diverged" and not replica.solved


def _worst_metric(arms: Sequence[Arm], better: str) -> float:
    """What a diverged seed counts as: the worst that any seed ended with."""
    finite = [r.outcome.final_metric for arm in arms for r in arm.replicas if np.isfinite(r.outcome.final_metric)]
    return (max if better == "lower" else min)(finite, default=0.0)


def _metric(arm: Arm, worst: float, rng: np.random.Generator) -> Estimate | None:
    values = [
        np.nan if _diverged(replica) else replica.outcome.final_metric
        for replica in arm.replicas
        if _diverged(replica) or np.isfinite(replica.outcome.final_metric)
    ]
    return iqm(values, rng, worst=worst) if values else None


def _time(arm: Arm, solved: int) -> tuple[float | None, float | None]:
    """Seconds per seed and update over the runs that tell, and seconds per solved seed where all tell.

    A run's seconds are those of all its seeds in lockstep; a seed's share of them is its share of the updates.
    """
    seconds = steps = 0.0
    complete = True
    for run in arm.runs:
        ours = sum(replica.outcome.steps for replica in arm.replicas if replica.run is run)
        all_steps = sum(outcome.steps for outcome in run.outcomes)
        if run.seconds is None or not all_steps:
            complete = False
            continue
        seconds, steps = seconds + run.seconds * ours / all_steps, steps + ours
    per_step = seconds / steps if steps else None
    return per_step, seconds / solved if complete and solved else None
