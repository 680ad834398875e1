"""Pictures of the adjoint norms: over training and along the sequence.

Figures are made without pyplot, so they leave no state behind and need no display.

P probed training steps, R replica, S state component, T time. A norm is NaN where a replica had ended or no
example had the step.
"""

from collections.abc import Sequence

import numpy as np

from rnnlab.plotting import Axes, Figure, FigureCanvasAgg, MaxNLocator, by_default, colormaps

SIZE = (6.0, 3.4)
"""Inches; with DPI, large enough to be read where TensorBoard shows an image at its own size."""
DPI = 120
LOWEST, DOWN = -24, 4
HIGHEST, UP = 8, 2
"""A scale's lower end is a multiple of DOWN decades, its upper end of UP, so that most runs share one scale.
Published norms fall to 1e-23."""
BEYOND = 400.0
"""Stands for log10 of infinity, and negative for that of 0: outside every scale, yet drawable."""
LONGEST = 120
"""Characters of a label."""
COLOURS = colormaps["viridis"].with_extremes(bad="0.8", under="black", over="red")
"""Of every map: black below the scale, red above, grey where there is no value."""
CURVES = 5
"""Training steps drawn as curves, first and last included."""


def median_over_seeds(norm_RST: np.ndarray) -> np.ndarray:
    """(S, T): the median over the replicas that have a value, NaN where none has. Any axes may follow R.

    np.nanmedian would warn where all are NaN, and take a Python call per entry.
    """
    ordered = np.sort(norm_RST, axis=0)  # NaN comes last
    count = np.sum(~np.isnan(norm_RST), axis=0, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=0)
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(ordered) - 1), axis=0)
    with np.errstate(over="ignore"):  # infinite as far as anybody draws it
        return ((low + high) / 2)[0]


def log10(norm: np.ndarray) -> np.ndarray:
    """log10, with -BEYOND for 0 and BEYOND for infinity; NaN stays."""
    with np.errstate(divide="ignore"):
        return np.nan_to_num(np.log10(norm), nan=np.nan, posinf=BEYOND, neginf=-BEYOND)


def scale(log_norm: np.ndarray) -> tuple[int, int]:
    """A scale's two ends in decades: at least from -DOWN to 0, at most from LOWEST to HIGHEST."""
    inside = log_norm[np.abs(log_norm) < BEYOND]  # False for NaN
    if inside.size == 0:
        return -DOWN, 0
    low, high = np.floor(inside.min() / DOWN) * DOWN, np.ceil(inside.max() / UP) * UP
    return int(np.clip(low, LOWEST, -DOWN)), int(np.clip(high, 0, HIGHEST))


@by_default()
def heat_map(step: Sequence[int], median_PT: np.ndarray, *, state: str, unit: str, seeds: int) -> Figure:
    """Training step to the right, time step upwards, colour: log10 of the median norm.

    Black is below the scale (0 included), red above, grey: no value.

    Args:
        step: (P,) training steps, rising.
        median_PT: medians over the seeds.
        state: name of the state component.
        unit: unit of the loss.
        seeds: how many there are.
    """
    figure, axes = _figure(right=0.97)
    log_TP = log10(median_PT).T
    low, high = scale(log_TP)
    mesh = axes.pcolorfast(edges(step), np.arange(len(log_TP) + 1) + 0.5, log_TP, cmap=COLOURS, vmin=low, vmax=high)
    axes.set(xlabel="training step", ylabel="time step t", title=_title(state, seeds))
    figure.colorbar(mesh, ax=axes, pad=0.03, extend=extend(log_TP, low, high), label=norm_label(state, unit))
    return figure


@by_default()
def depth_map(step: int, median_ST: np.ndarray, states: Sequence[str], *, unit: str) -> Figure:
    """Time step to the right, the states of all cells upwards in their order, colour as in `heat_map`.

    Args:
        step: the training step; median_ST: medians over the seeds; unit: of the loss.
    """
    figure, axes = _figure(right=0.97)
    log_ST = log10(median_ST)
    low, high = scale(log_ST)
    borders = np.arange(log_ST.shape[1] + 1) + 0.5, np.arange(len(states) + 1)
    mesh = axes.pcolorfast(*borders, log_ST, cmap=COLOURS, vmin=low, vmax=high)
    axes.set(xlabel="step t of the cell", title=f"adjoint of every state, training step {step}")
    axes.set_yticks(np.arange(len(states)) + 0.5, [words(state) for state in states], fontsize=7)
    figure.colorbar(mesh, ax=axes, pad=0.03, extend=extend(log_ST, low, high), label=norm_label("s", unit))
    return figure


def edges(step: Sequence[int]) -> np.ndarray:
    """(P + 1,) borders half-way between neighbouring training steps; none below 0."""
    centre = np.asarray(step, dtype=float)
    gap = np.diff(centre) if len(centre) > 1 else np.ones(1)
    middle = centre[:-1] + gap[: len(centre) - 1] / 2
    return np.concatenate([np.maximum(centre[:1] - gap[0] / 2, 0), middle, centre[-1:] + gap[-1] / 2])


def extend(log_norm: np.ndarray, low: int, high: int) -> str:
    """Which ends of a scale have values beyond, as a colour bar's `extend`."""
    under, over = bool((log_norm < low).any()), bool((log_norm > high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((under, over), "neither")


def _figure(*, right: float) -> tuple[Figure, Axes]:
    """With fixed margins: a layout engine draws everything twice to find them, half of a picture's cost."""
    figure = Figure(figsize=SIZE, dpi=DPI)
    figure.subplots_adjust(left=0.13, right=right, bottom=0.15, top=0.91)
    return figure, figure.add_subplot()


def words(text: str) -> str:
    """A text that somebody chose, for a figure: no mathematics, which may be wrong, on one line, and not endless."""
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(c if c.isprintable() else " " for c in cut).replace("$", r"\$")


def norm_label(state: str, unit: str) -> str:
    """Of an axis with the norm's logarithm."""
    # Not mathtext, which takes a quarter of the drawing to parse.
    return words(f"log₁₀ ‖∂L/∂{state}ₜ‖   (L in {unit})")


def _title(state: str, seeds: int) -> str:
    return f"adjoint of {state}" + (f", median over {seeds} seeds" if seeds > 1 else "")


@by_default()
def curves(step: Sequence[int], norms_PRT: Sequence[np.ndarray], *, state: str, unit: str) -> Figure:
    """log10 of the norm along the sequence, one curve per training step; the band spans all seeds.

    Args:
        step: (P,) training steps, rising; CURVES of them are drawn.
        norms_PRT: P arrays (R, T).
        state: name of the state component.
        unit: unit of the loss.
    """
    figure, axes = _figure(right=0.82)
    drawn = chosen(len(step))
    seeds, low, high = len(norms_PRT[0]), [], []
    for colour, at in zip(colormaps["viridis"](np.linspace(0, 0.9, len(drawn))), drawn, strict=True):
        norm_RT = norms_PRT[at]
        log_T, time_T = log10(median_over_seeds(norm_RT)), np.arange(1, norm_RT.shape[1] + 1)
        axes.plot(time_T, log_T, color=colour, label=f"{step[at]}")
        if seeds > 1:
            lowest_T, highest_T = log10(np.fmin.reduce(norm_RT)), log10(np.fmax.reduce(norm_RT))
            axes.fill_between(time_T, lowest_T, highest_T, color=colour, alpha=0.12, linewidth=0)
            low, high = [*low, lowest_T], [*high, highest_T]
        low, high = [*low, log_T], [*high, log_T]
    bottom, top = scale(np.concatenate([*low, *high]))
    axes.set(xlabel="time step t", ylabel=norm_label(state, unit), title=_title(state, seeds), ylim=(bottom, top))
    axes.margins(x=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    figure.legend(title="training step", loc="center right", frameon=False)
    return figure


def chosen(probed: int) -> list[int]:
    """Which of so many probed steps are drawn as curves: evenly spread, first and last included."""
    return sorted({round(at) for at in np.linspace(0, probed - 1, min(CURVES, probed))})


@by_default()
def pixels(figure: Figure) -> np.ndarray:
    """(height, width, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
