"""Pictures of what probes measure: maps over time and training, spectra over training, products along the sequence.

P probed training steps, T time, D singular values, N time steps looked at.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rnnlab.plotting import Axes, Figure, MaxNLocator, Normalize, ScalarMappable, colormaps
from rnnlab.sinks.figures import BEYOND, DPI, SIZE, chosen, edges, log10

COLUMNS = 3
"""Panels side by side, at most."""
ROW = 2.1
"""Inches that each further row of panels adds."""
LEFT, RIGHT = 0.115, 0.79
"""Where panels begin and end; to the right of them are the scale or the legend."""
RANKS = {"largest": 0.0, "upper quartile": 0.25, "median": 0.5, "lower quartile": 0.75, "smallest": 1.0}
"""Singular values that are drawn, by their place in falling order."""
FLOOR, CEILING = -8.0, 4.0
"""Decades. Where singular values lie beyond, their scale ends here."""


def maps(step: Sequence[int], parts: Mapping[str, np.ndarray], *, title: str, label: str) -> Figure:
    """One heat map per part: training step to the right, time step upwards, one scale of colours. Grey: no value.

    Args:
        step: (P,) training steps, rising.
        parts: by name, (P, T), between 0 and 1.
        title: what all of them show.
        label: what 0 and 1 mean.
    """
    figure, panels = _panels(parts, title, "training step", "time step t")
    colours = colormaps["viridis"].with_extremes(bad="0.8")
    low, high = _tenths(np.concatenate([part_PT.ravel() for part_PT in parts.values()]))
    for axes, part_PT in zip(panels, parts.values(), strict=True):
        border_T = np.arange(part_PT.shape[1] + 1) + 0.5
        axes.pcolorfast(edges(step), border_T, np.ma.masked_invalid(part_PT.T), cmap=colours, vmin=low, vmax=high)
    bottom, top = figure.subplotpars.bottom, figure.subplotpars.top
    bar = figure.add_axes((RIGHT + 0.03, bottom, 0.03, top - bottom))
    figure.colorbar(ScalarMappable(Normalize(low, high), colours), cax=bar, label=label)
    return figure


def spectra(step: Sequence[int], parts: Mapping[str, np.ndarray], *, title: str) -> Figure:
    """Singular values over training, on a logarithmic scale: five of them, and the range of all. Dashed: isometry.

    Args:
        step: (P,) training steps, rising.
        parts: by name, (P, D), falling along D.
        title: of what.
    """
    figure, panels = _panels(parts, title, "training step", "log₁₀ singular value")
    logs = {name: log10(value_PD) for name, value_PD in parts.items()}
    low, high = _limits(np.concatenate([log_PD.ravel() for log_PD in logs.values()]))
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(RANKS)))
    for axes, log_PD in zip(panels, logs.values(), strict=True):
        axes.axhline(0, color="0.4", linestyle="--", linewidth=1)
        axes.fill_between(step, log_PD[:, -1], log_PD[:, 0], color="0.9", linewidth=0)
        for (name, rank), colour in zip(RANKS.items(), colours, strict=True):
            at = round(rank * (log_PD.shape[1] - 1))
            axes.plot(step, log_PD[:, at], ".-", color=colour, markersize=3, label=name)
        axes.set_ylim(low, high)
        axes.grid(alpha=0.3)
    _legend(figure, panels[0], "in order of size")
    return figure


def products(step: Sequence[int], time_N: np.ndarray, ends: Mapping[str, np.ndarray], *, title: str) -> Figure:
    """How the way from step t to the end stretches small changes, one curve per training step: the largest singular
    value and the geometric mean of all. Dashed: isometry.

    Args:
        step: (P,) training steps, rising; some are drawn.
        time_N: the time steps t.
        ends: `log10_largest` and `log10_geometric_mean`, (P, N), decades.
        title: of what.
    """
    parts = {"largest singular value": ends["log10_largest"], "geometric mean of all": ends["log10_geometric_mean"]}
    figure, panels = _panels(parts, title, "time step t", "log₁₀", sharey=False, wspace=0.25)
    drawn = chosen(len(step))
    for axes, log_PN in zip(panels, parts.values(), strict=True):
        axes.axhline(0, color="0.4", linestyle="--", linewidth=1)
        for colour, at in zip(colormaps["viridis"](np.linspace(0, 0.9, len(drawn))), drawn, strict=True):
            axes.plot(
                time_N, np.where(np.isfinite(log_PN[at]), log_PN[at], np.nan), ".-", color=colour, label=f"{step[at]}"
            )
        axes.grid(alpha=0.3)
    _legend(figure, panels[0], "training step")
    return figure


def _panels(
    parts: Mapping[str, np.ndarray], title: str, xlabel: str, ylabel: str, *, sharey: bool = True, wspace: float = 0.1
) -> tuple[Figure, list[Axes]]:
    """A panel per part, with its name. With shared axes only the outer ones are labelled.

    Margins are fixed, as in rnnlab.sinks.figures: a layout engine would draw everything twice to find them.
    """
    rows = -(-len(parts) // COLUMNS)
    columns = -(-len(parts) // rows)
    height = SIZE[1] + ROW * (rows - 1)
    figure = Figure(figsize=(SIZE[0], height), dpi=DPI)
    figure.subplots_adjust(LEFT, 0.5 / height, RIGHT, 1 - 0.65 / height, wspace=wspace, hspace=0.2)
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False).flat)
    for empty in grid[len(parts) :]:
        empty.remove()
    for axes, name in zip(grid, parts, strict=False):
        axes.set_title(name.replace("_", " "), fontsize="small")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.tick_params(labelsize="small")
    middle = (LEFT + RIGHT) / 2
    figure.suptitle(title, x=middle, y=1 - 0.08 / height, fontsize="large")
    figure.supxlabel(xlabel, x=middle, y=0.04 / height, fontsize="medium")
    figure.supylabel(ylabel, x=0.01, fontsize="medium")
    return figure, grid[: len(parts)]


def _legend(figure: Figure, of: Axes, title: str) -> None:
    handles, labels = of.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="center right", frameon=False, fontsize="small", handlelength=1.2)


def _limits(log: np.ndarray) -> tuple[float, float]:
    """Half decades around the values and 0, at most from FLOOR to CEILING."""
    inside = log[np.abs(log) < BEYOND]
    low, high = (inside.min(), inside.max()) if inside.size else (0.0, 0.0)
    return max(min(np.floor(2 * low) / 2, -0.5), FLOOR), min(max(np.ceil(2 * high) / 2, 0.5), CEILING)


def _tenths(share: np.ndarray) -> tuple[float, float]:
    """Tenths around shares between 0 and 1: gates that hardly move would be of one colour on a scale from 0 to 1."""
    inside = share[np.isfinite(share)]
    low, high = (np.floor(10 * inside.min()), np.ceil(10 * inside.max())) if inside.size else (0.0, 10.0)
    return min(low, 9) / 10, max(high, low + 1) / 10
