"""The one door to matplotlib: a figure looks the same in every folder, and nothing that lies there has a say in it.

At its import matplotlib obeys a `matplotlibrc` of the current folder, before any that a variable names, and one of the
home folder. The first may be a stranger's, and can start LaTeX; any may be damaged. So may MPLBACKEND: a notebook
gives its own to every command started in it. Whoever imports matplotlib himself keeps what he has: nothing is changed
outside `by_default`.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path


@contextmanager
def _alone() -> Iterator[None]:
    """In the root, where no stranger writes, with matplotlib's own settings; its caches stay where they are."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    before = dict(os.environ)
    for name in ("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.environ[name])
    os.environ["MATPLOTLIBRC"] = str(Path(spec.origin).parent / "mpl-data" / "matplotlibrc")
    os.environ.pop("MPLBACKEND", None)
    try:
        with chdir(Path(__file__).anchor):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


with _alone():
    import matplotlib
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter
with suppress(ValueError):  # a notebook's own, for figures that are not ours
    matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND") or matplotlib.rcParams["backend"]

__all__ = [
    "Axes",
    "Figure",
    "FigureCanvasAgg",
    "MaxNLocator",
    "NullLocator",
    "PercentFormatter",
    "by_default",
    "colormaps",
]


@contextmanager
def by_default() -> Iterator[None]:
    """Figures made and drawn in here follow matplotlib's own defaults; afterwards its settings are as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
