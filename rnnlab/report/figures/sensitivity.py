"""How much each technique depends on the learning rate: share solved and final loss against it."""

import numpy as np

from rnnlab.plotting import Figure, NullLocator, PercentFormatter
from rnnlab.report.arms import LR, Setting
from rnnlab.report.comparison import Comparison
from rnnlab.report.figures.style import (
    DRAWN,
    MARKERS,
    OFF,
    WIDTH,
    Drawing,
    labelled,
    left_out,
    legend_below,
    quartiles,
    style,
)
from rnnlab.sinks.figures import words

TICKS = 8
"""Learning rates up to which each has its own tick."""


def sensitivity(comparison: Comparison) -> Drawing | None:
    """None where the learning rate was not chosen among several."""
    if not comparison.section.lr_selected:
        return None
    drawn = comparison.rows[:DRAWN]
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    handles, seen = [], []
    for place, row in enumerate(drawn):
        lr = np.array([setting.lr for setting in row.arm.tried])
        solved = [np.mean([replica.solved for replica in setting.replicas]) for setting in row.arm.tried]
        loss_3N = np.stack([quartiles(_final(setting)[:, None])[:, 0] for setting in row.arm.tried], axis=1)
        look = {**style(place), "marker": MARKERS[place], "markersize": 5}
        (line,) = above.plot(lr, solved, **look, clip_on=False)
        below.plot(lr, loss_3N[1], **look)
        below.vlines(lr, loss_3N[0], loss_3N[2], color=line.get_color(), alpha=0.5)
        handles.append(line)
        seen.append(loss_3N[loss_3N < OFF])
    baseline, unit = comparison.section.said("baseline"), comparison.section.said("unit")
    values = np.concatenate([*seen, [baseline] if baseline is not None else []])
    values = values[values > 0]
    if baseline is not None:
        line = below.axhline(baseline, color="0.35", linestyle=(0, (2, 2)), linewidth=1.2)
        handles.append(line)
    above.set(ylabel="seeds solved", ylim=(-0.03, 1.03))
    above.yaxis.set_major_formatter(PercentFormatter(1.0))
    of_loss = words(unit or "the unit of the task")
    below.set(xscale="log", xlabel=f"learning rate ({LR}, no unit)", ylabel=f"final loss ({of_loss})")
    tried = sorted({setting.lr for row in drawn for setting in row.arm.tried})
    if len(tried) <= TICKS:
        below.set_xticks(tried, [f"{lr:g}" for lr in tried])
        below.xaxis.set_minor_locator(NullLocator())
    if len(values):
        below.set(yscale="log", ylim=(values.min() / 1.5, values.max() * 1.5))
    for axes in (above, below):
        axes.grid(alpha=0.3)
    names = [
        *(labelled(row) for row in drawn),
        *([] if baseline is None else [f"baseline: best without memory, {baseline:.4g}"]),
    ]
    legend_below(figure, handles, names)
    caption = (
        "Every learning rate tried, not the chosen one alone. Above: share of seeds solved; below: median of the last "
        "evaluation's loss over seeds, bar: quartiles, a diverged seed counting as infinite, so that a line may leave "
        f"at the top. A solved seed stops where it solved.{left_out(comparison.rows, drawn)}"
    )
    return Drawing("sensitivity", "Sensitivity to the learning rate", caption, "Outcome against learning rate", figure)


def _final(setting: Setting) -> np.ndarray:
    return np.array([np.inf if r.outcome.status == "diverged" else r.outcome.final_loss for r in setting.replicas])
