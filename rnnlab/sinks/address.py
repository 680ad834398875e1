"""TensorBoard's address for comparing runs. Imports nothing heavy."""

from urllib.parse import quote

CARDS = r"^\w+/(train|eval|baseline)$|^adjoint_(slope|ratio)"
"""Losses, the task metric, and two figures that sum up the adjoint norms; no pictures."""
TECHNIQUE = r"([^/]+)-[0-9a-f]{8}/"
"""Within a run's name, <name>/<technique>-<hash>/tensorboard: runs of one technique share a colour."""


def comparison_address() -> str:
    """TensorBoard's address that shows losses and adjoint slopes of all runs, one colour per technique."""
    query = f"tagFilter={quote(CARDS, safe='')}&smoothing=0&runColorGroup=regex:{quote(TECHNIQUE, safe='')}"
    return f"http://localhost:6006/?{query}#timeseries"
