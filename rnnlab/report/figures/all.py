"""The figures of a comparison, in the order in which a reader needs them."""

from collections.abc import Iterator

from rnnlab.report.comparison import Comparison
from rnnlab.report.figures.adjoint_curves import adjoint_curves
from rnnlab.report.figures.depth_maps import depth_maps
from rnnlab.report.figures.heat_maps import MAPS, heat_maps
from rnnlab.report.figures.learning_curves import learning_curves
from rnnlab.report.figures.norms import gather
from rnnlab.report.figures.sensitivity import sensitivity
from rnnlab.report.figures.solve_curves import solve_curves
from rnnlab.report.figures.style import Drawing


def draw(comparison: Comparison) -> Iterator[Drawing]:
    """Those that the runs hold something for."""
    norms = [found for row in comparison.rows[:MAPS] if (found := gather(row)) is not None]
    drawings = (
        learning_curves(comparison),
        solve_curves(comparison),
        adjoint_curves(comparison, norms),
        heat_maps(comparison, norms),
        depth_maps(comparison, comparison.rows[:MAPS]),
        sensitivity(comparison),
    )
    yield from (drawing for drawing in drawings if drawing is not None)
