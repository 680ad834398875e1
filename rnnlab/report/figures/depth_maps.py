"""The adjoint norm in depth and time: every state of nets with several cells, a heat map per arm, at its last step.

S state component of all cells, T time, R seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnlab.plotting import Figure, MaxNLocator
from rnnlab.report.comparison import Comparison, Row
from rnnlab.report.figures.style import WIDTH, Drawing, labelled, left_out
from rnnlab.sinks.figures import COLOURS, extend, log10, median_over_seeds, norm_label, scale

MAPS = 6
"""Arms drawn at most."""


@dataclass(frozen=True)
class Depth:
    """An arm's median norms (S, T) at its last probed training step, by the names of the states."""

    row: Row
    step: int
    states: list[str]
    median_ST: np.ndarray


def deep(row: Row) -> Depth | None:
    """None where its nets have one cell, or nothing was recorded."""
    for run in row.arm.runs:
        found = run.adjoints()
        if found is None or not any("." in state for state in found.state):
            continue
        ours = np.isin(found.seed, [replica.outcome.seed for replica in row.arm.replicas if replica.run is run])
        norm_PRST = found.norm_PRST[:, ours]
        alive = np.flatnonzero(~np.isnan(norm_PRST).all(axis=(1, 2, 3)))
        if len(alive):
            return Depth(row, int(found.step[alive[-1]]), found.state, median_over_seeds(norm_PRST[alive[-1]]))
    return None


def _along_the_sequence(of_arm: Depth) -> np.ndarray:
    """(S, T). A backward cell counts from the end (docs/run-folder.md); here its curve falls the other way."""
    rows = zip(of_arm.states, of_arm.median_ST, strict=True)
    return np.stack([norm_T[::-1] if state.startswith("backward") else norm_T for state, norm_T in rows])


def depth_maps(comparison: Comparison, rows: Sequence[Row]) -> Drawing | None:
    """None where no arm of these has several cells."""
    drawn = [found for row in rows if (found := deep(row)) is not None][:MAPS]
    if not drawn:
        return None
    logs = [log10(_along_the_sequence(of_arm)) for of_arm in drawn]
    everything = np.concatenate([log_ST.ravel() for log_ST in logs])
    low, high = scale(everything)
    tall = [0.5 + 0.22 * len(log_ST) for log_ST in logs]
    figure = Figure(figsize=(WIDTH, max(2.4, 0.6 + sum(tall))), layout="constrained")
    panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=tall)[:, 0]
    mesh = None
    for axes, of_arm, log_ST in zip(panels, drawn, logs, strict=True):
        S, T = log_ST.shape
        mesh = axes.pcolorfast(np.arange(T + 1) + 0.5, np.arange(S + 1), log_ST, cmap=COLOURS, vmin=low, vmax=high)
        axes.set_yticks(np.arange(S) + 0.5, of_arm.states, fontsize=7.5)
        axes.set_title(f"{labelled(of_arm.row)}, training step {of_arm.step:,}", fontsize=7.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.tick_params(labelsize=7.5)
    panels[-1].set_xlabel("step t of the sequence (of a decoder, of the answer)", fontsize=9)
    assert mesh is not None
    unit = comparison.section.said("unit") or "the task's unit"
    bar = figure.colorbar(mesh, ax=list(panels), extend=extend(everything, low, high))
    bar.set_label(norm_label("s", unit), fontsize=8)
    caption = (
        "Norm of the total derivative of the loss with respect to every state s of every cell or layer, the one that "
        "reads the input at the bottom, at each time step; median over the seeds in training, at the last step "
        f"that was recorded; one scale for all arms.{left_out(comparison.rows, [of_arm.row for of_arm in drawn])}"
    )
    title, alt = "The gradient in depth and time", "Heat maps of adjoint norms by cell and time step"
    return Drawing("depth_maps", title, caption, alt, figure, few_colours=False)
