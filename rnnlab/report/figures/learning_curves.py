"""Evaluation loss against training step: median and quartiles over seeds, beside the baseline."""

import numpy as np

from rnnlab.plotting import Axes, Figure
from rnnlab.report.arms import Replica
from rnnlab.report.comparison import Comparison
from rnnlab.report.figures.style import (
    DRAWN,
    OFF,
    WIDTH,
    Drawing,
    band,
    drawn_points,
    labelled,
    left_out,
    legend_below,
    quartiles,
    seeds,
    style,
)
from rnnlab.sinks.figures import words


def learning_curves(comparison: Comparison) -> Drawing | None:
    """None where no run holds an evaluation."""
    drawn = comparison.rows[:DRAWN]
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.add_subplot()
    handles, finite = [], []
    for place, row in enumerate(drawn):
        step, loss_RN = losses(row.arm.replicas)
        if not len(step):
            continue
        low, median, high = quartiles(loss_RN)
        (line,) = axes.plot(step, median, **style(place), **drawn_points(median), label=labelled(row))
        axes.fill_between(step, low, high, **band(place))
        handles.append(line)
        drawable = np.concatenate([low, median])  # one seed's burst of loss must not flatten all other curves
        finite.append(drawable[drawable < OFF])
    seen = np.concatenate([np.empty(0), *finite])
    if not len(seen):
        return None
    baseline, unit = comparison.section.said("baseline"), comparison.section.said("unit")
    if baseline is not None:
        handles.append(axes.axhline(baseline, color="0.35", linestyle=(0, (2, 2)), linewidth=1.2))
        handles[-1].set_label(f"baseline: best without memory, {baseline:.4g}")
        seen = np.append(seen, baseline)
    _limit(axes, seen)
    axes.set(xlabel="training step (updates)", ylabel=f"evaluation loss ({words(unit or 'the unit of the task')})")
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    legend_below(figure, handles, [handle.get_label() for handle in handles])
    caption = (
        f"Loss on held-out examples; line: median, band: quartiles over seeds ({seeds(drawn)}). A seed that has ended "
        "keeps its last value, and a line ends with the last of its seeds; a diverged seed counts as infinite from "
        "there on, a seed still in training counts up to where it stands. A band may leave at the top."
        f"{left_out(comparison.rows, drawn)}"
    )
    return Drawing("learning_curves", "Learning curves", caption, "Evaluation loss against training step", figure)


def losses(replicas: list[Replica]) -> tuple[np.ndarray, np.ndarray]:
    """Steps (N,), rising, and losses (R, N): of the last evaluation up to a step; NaN where there is none yet.

    After its end a seed keeps its value; a diverged one has inf, an undecided one NaN.
    """
    curves = [replica.run.evaluations.by_seed.get(replica.outcome.seed) for replica in replicas]
    steps = [curve[0] for curve in curves if curve is not None]
    step = np.unique(np.concatenate([np.empty(0, dtype=int), *steps]))
    loss_RN = np.full((len(replicas), len(step)), np.nan)
    for r, (replica, curve) in enumerate(zip(replicas, curves, strict=True)):
        if curve is None:
            continue
        at = np.searchsorted(curve[0], step, side="right") - 1
        loss_RN[r] = np.where(at >= 0, np.nan_to_num(curve[1], nan=np.inf, posinf=np.inf)[at], np.nan)
        if replica.outcome.status == "diverged":
            loss_RN[r, step >= replica.outcome.steps] = np.inf
        elif replica.undecided:
            loss_RN[r, step > curve[0][-1]] = np.nan
    return step, loss_RN


def _limit(axes: Axes, seen: np.ndarray) -> None:
    """Logarithmic where what is seen spans a decade."""
    low, high = seen.min(), seen.max()
    if low > 0 and high / low > 10:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        gap = (high - low or 1.0) * 0.05
        axes.set_ylim(low - gap, high + gap)
