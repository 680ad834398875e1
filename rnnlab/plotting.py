"""The one door to matplotlib: a figure looks the same in every folder, and nothing that lies there has a say in it.

At its import matplotlib obeys a `matplotlibrc` of the current folder, before any that a variable names. It may be a
stranger's, and can start LaTeX. Whoever imports matplotlib himself keeps what he has: nothing is changed outside
`by_default`.
"""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

with chdir(Path(__file__).anchor):  # the root, where no stranger writes
    import matplotlib
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

__all__ = [
    "Axes",
    "Figure",
    "FigureCanvasAgg",
    "MaxNLocator",
    "Normalize",
    "NullLocator",
    "PercentFormatter",
    "ScalarMappable",
    "by_default",
    "colormaps",
]


@contextmanager
def by_default() -> Iterator[None]:
    """Figures made and drawn in here follow matplotlib's own defaults; afterwards its settings are as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
