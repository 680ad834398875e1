"""What all figures share: colours and line styles that survive grey print and colour blindness, labels, PNG."""

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from rnnlab.plotting import Figure, FigureCanvasAgg
from rnnlab.report.comparison import Row
from rnnlab.sinks.figures import words

WIDTH = 7.2
"""Inches."""
DPI = 130
DRAWN = 8
"""Arms in one figure, at most: there are no more styles that can be told apart."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe & Ito's, which colour-blind readers can tell apart, without the yellow that print loses."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (8, 2)), (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
OFF = 1e30
"""Stands for infinity, which a line cannot be drawn to."""


@dataclass(frozen=True)
class Drawing:
    """A figure and what is said about it; `name` is its file's, `alt` serves those who do not see it.

    few_colours: 256 are enough, as for lines and bands.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    few_colours: bool = True


def style(place: int) -> dict[str, Any]:
    """Line style of the arm at a place of the ranking, the same in every figure."""
    return {"color": COLOURS[place % DRAWN], "linestyle": DASHES[place % DRAWN], "linewidth": 1.6}


def drawn_points(values: np.ndarray) -> dict[str, Any]:
    """A marker where a line has one point only, which would not be seen."""
    return {"marker": "o", "markersize": 4} if np.sum(values < OFF) == 1 else {}


def band(place: int) -> dict[str, Any]:
    return {"color": COLOURS[place % DRAWN], "alpha": 0.13, "linewidth": 0}


def labelled(row: Row, *, width: int = 88, lines: int = 2) -> str:
    """An arm's name for a legend: no mathematics in it, not endless, on lines of our own, partial results marked."""
    wrapped = textwrap.wrap(row.arm.label, width, max_lines=lines, placeholder="…")
    return "\n".join(map(words, wrapped)) + (" (partial)" if row.arm.partial else "")


def seeds(rows: Sequence[Row]) -> str:
    """How many seeds, in words."""
    fewest, most = min(row.seeds for row in rows), max(row.seeds for row in rows)
    return (
        f"{fewest} seed{'s' if fewest > 1 else ''} per arm" if fewest == most else f"{fewest} to {most} seeds per arm"
    )


def left_out(rows: Sequence[Row], drawn: Sequence[Row]) -> str:
    """That not all arms are drawn, if so."""
    if len(drawn) == len(rows):
        return ""
    return f" Drawn are the first {len(drawn)} of {len(rows)} arms in the order of the table."


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend that takes no room from the axes; in two columns where the labels are short."""
    columns = 1 if max(map(len, labels), default=0) > 45 else 2
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize="small", handlelength=3.5
    )


def quartiles(values_RN: np.ndarray) -> np.ndarray:
    """(3, N): lower quartile, median, upper quartile over the values that there are; NaN where there is none.

    Infinity counts as a value above all others.
    """
    filled = np.where(np.isposinf(values_RN), OFF, values_RN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN, which is what we say too
        return np.nanquantile(filled, [0.25, 0.5, 0.75], axis=0)


def png(drawing: Drawing) -> bytes:
    """The figure as a PNG; with at most 256 colours it takes a third of the room."""
    canvas = FigureCanvasAgg(drawing.figure)
    drawing.figure.set_dpi(DPI)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a letter that the font lacks is drawn as a box
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    if drawing.few_colours:
        image = image.quantize(256, dither=Image.Dither.NONE)
    buffer = BytesIO()
    image.save(buffer, "png", optimize=True)
    return buffer.getvalue()
