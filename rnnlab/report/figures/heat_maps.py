"""The adjoint norm by training step and time step: a heat map per arm, all on one colour scale."""

import math
from collections.abc import Sequence

import numpy as np

from rnnlab.plotting import Figure, MaxNLocator
from rnnlab.report.comparison import Comparison
from rnnlab.report.figures.norms import Norms, state_drawn
from rnnlab.report.figures.style import WIDTH, Drawing, labelled, left_out
from rnnlab.sinks.figures import COLOURS, edges, extend, log10, norm_label, scale

MAPS = 12
"""Arms drawn at most."""
COLUMNS = 3


def heat_maps(comparison: Comparison, norms: Sequence[Norms]) -> Drawing | None:
    """None where no run recorded norms.

    Args:
        norms: of the first arms in the comparison's order.
    """
    drawn = [of_arm for of_arm in norms[:MAPS] if of_arm.alive().any()]
    if not drawn:
        return None
    logs = [log10(of_arm.median()).T for of_arm in drawn]
    everything = np.concatenate([log_TP.ravel() for log_TP in logs])
    low, high = scale(everything)
    columns = min(COLUMNS, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    figure = Figure(figsize=(WIDTH, 0.7 + 2.0 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    colours = COLOURS.with_extremes(bad=(0, 0, 0, 0))
    mesh = None
    for axes, of_arm, log_TP in zip(panels.flat, drawn, logs, strict=False):
        time = np.arange(len(log_TP) + 1) + 0.5
        mesh = axes.pcolorfast(edges(of_arm.step.tolist()), time, log_TP, cmap=colours, vmin=low, vmax=high)
        axes.set_title(labelled(of_arm.row, width=30 if columns == COLUMNS else 44, lines=4), fontsize=7.5)
        axes.patch.set(facecolor="white", edgecolor="0.75", hatch="////")  # no value, in grey print too
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.tick_params(labelsize=7.5)
    for axes in panels.flat[len(drawn) :]:
        axes.set_visible(False)
    figure.supxlabel("training step (updates)", fontsize=9)
    figure.supylabel("time step t", fontsize=9)
    state, unit = state_drawn(drawn), comparison.section.said("unit") or "the task's unit"
    assert mesh is not None
    bar = figure.colorbar(mesh, ax=panels, extend=extend(everything, low, high), shrink=min(1.0, 2.4 / lines))
    bar.set_label(norm_label(state, unit), fontsize=8)
    rows = [of_arm.row for of_arm in drawn]
    caption = (
        "The same norm over the whole of training; colour: log10 of the median over the seeds in training, one scale "
        "for all arms. Black: 0 or below the scale; red: above it, or infinite; hatched: no seed in training, or "
        f"nothing recorded.{left_out(comparison.rows, rows)}"
    )
    title, alt = "The adjoint norm while training", "Heat maps of adjoint norms"
    return Drawing("heat_maps", title, caption, alt, figure, few_colours=False)
