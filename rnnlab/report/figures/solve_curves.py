"""The share of seeds that have solved the task, against training step: Kaplan and Meier's estimate."""

import numpy as np

from rnnlab.plotting import Figure, PercentFormatter
from rnnlab.report.comparison import Comparison
from rnnlab.report.figures.style import DRAWN, WIDTH, Drawing, band, labelled, left_out, legend_below, seeds, style

BANDS = 3
"""Arms up to which intervals are drawn; those of few seeds are wide, and more of them hide each other."""


def solve_curves(comparison: Comparison) -> Drawing:
    """One minus the unsolved share, which seeds that are still in training are censored from."""
    drawn = comparison.rows[:DRAWN]
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.add_subplot()
    handles = []
    last = max(float(row.curve.step[-1]) for row in drawn)
    for place, row in enumerate(drawn):
        curve = row.curve
        known = last if curve.unsolved_share[-1] == 0 else curve.step[-1]  # who is solved stays so
        step, solved = np.append(curve.step, known), 1 - np.append(curve.unsolved_share, curve.unsolved_share[-1])
        (line,) = axes.plot(step, solved, drawstyle="steps-post", **style(place), label=labelled(row))
        if len(drawn) <= BANDS:
            axes.fill_between(curve.step, 1 - curve.high, 1 - curve.low, step="post", **band(place))
        censored = [r.outcome.steps for r in row.arm.replicas if not r.solved and r.outcome.status != "diverged"]
        at = np.searchsorted(curve.step, censored, side="right") - 1
        axes.plot(censored, 1 - curve.unsolved_share[at], "|", color=line.get_color(), markersize=9)
        handles.append(line)
    axes.set(xlabel="training step (updates)", ylabel="share of seeds solved", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    legend_below(figure, handles, [handle.get_label() for handle in handles])
    bands = "band: 95 % at each step by itself" if len(drawn) <= BANDS else "the table has the intervals"
    rule = comparison.section.said("solved_when")
    caption = (
        f"Share of seeds that have solved the task{f' ({rule})' if rule else ''} up to a training step, by Kaplan and "
        f"Meier ({seeds(drawn)}); {bands}; tick: a seed that ended, or stands, unsolved there. "
        f"A diverged seed counts as unsolved to the end.{left_out(comparison.rows, drawn)}"
    )
    return Drawing("solve_curves", "Solve curves", caption, "Share of seeds solved against training step", figure)
