"""The adjoint norm along the sequence, all arms together, at three training steps."""

from collections.abc import Sequence

import numpy as np

from rnnlab.plotting import Figure, MaxNLocator
from rnnlab.report.comparison import Comparison
from rnnlab.report.figures.norms import Norms, state_drawn
from rnnlab.report.figures.style import DRAWN, WIDTH, Drawing, labelled, left_out, legend_below, seeds, style
from rnnlab.sinks.figures import log10, median_over_seeds, norm_label, scale


def adjoint_curves(comparison: Comparison, norms: Sequence[Norms]) -> Drawing | None:
    """None where no run recorded norms.

    Args:
        norms: of the first arms in the comparison's order.
    """
    drawn = [(comparison.rows.index(of_arm.row), of_arm) for of_arm in norms[:DRAWN] if of_arm.alive().any()]
    if not drawn:
        return None
    chosen = chosen_steps([of_arm for _, of_arm in drawn])
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    panels = figure.subplots(1, len(chosen), sharex=True, sharey=True, squeeze=False)[0]
    handles, values = {}, []
    for axes, step in zip(panels, chosen, strict=True):
        for place, of_arm in drawn:
            at = np.flatnonzero((of_arm.step == step) & of_arm.alive())
            if len(at):
                log_T = log10(median_over_seeds(of_arm.norm_PRT[at[0]]))
                (line,) = axes.plot(np.arange(1, len(log_T) + 1), log_T, **style(place))
                handles.setdefault(place, line)
                values.append(log_T)
        axes.set(title=f"training step {step:,}", xlabel="time step t")
        axes.title.set_fontsize("medium")
        axes.margins(x=0)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    state, unit = state_drawn([of_arm for _, of_arm in drawn]), comparison.section.said("unit") or "the task's unit"
    panels[0].set_ylim(*scale(np.concatenate(values)))
    panels[0].set_ylabel(norm_label(state, unit))
    legend_below(figure, list(handles.values()), [labelled(comparison.rows[place]) for place in handles])
    rows = [comparison.rows[place] for place, _ in drawn]
    caption = (
        f"Norm of the total derivative of the loss with respect to the state {state} at every time step, median over "
        f"the seeds in training at that step ({seeds(rows)} at first). Flat: the gradient survives; falling towards "
        "the left: it vanishes on its way back. A line that leaves at the bottom is 0 or below the scale; an arm is "
        f"not drawn at a step that it did not reach or record.{left_out(comparison.rows, rows)}"
    )
    return Drawing("adjoint_curves", "Where the gradient is lost", caption, "Adjoint norm against time step", figure)


def chosen_steps(norms: Sequence[Norms]) -> list[int]:
    """Probed training steps: the first, the last that half of the arms still have, and one half-way."""
    steps = [of_arm.step[of_arm.alive()] for of_arm in norms]
    every = np.unique(np.concatenate(steps))
    shared = [step for step in every if sum(step in of_arm for of_arm in steps) * 2 >= len(steps)] or list(every)
    first, last = shared[0], shared[-1]
    middle = min(shared, key=lambda step: abs(step - (first + last) / 2))
    return sorted({int(first), int(middle), int(last)})
