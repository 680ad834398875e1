"""An arm's adjoint norms, gathered from its runs' files. P probed training steps, R seeds, T time steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnlab.report.comparison import Row
from rnnlab.sinks.figures import median_over_seeds


@dataclass(frozen=True)
class Norms:
    """`step` (P,) rising; `norm` (P, R, T), NaN where a seed had ended; of the first state component, `state`."""

    row: Row
    step: np.ndarray
    norm_PRT: np.ndarray
    state: str

    def alive(self) -> Any:
        """(P,) bool: whether any seed has a value."""
        return np.any(~np.isnan(self.norm_PRT), axis=(1, 2))

    def median(self) -> np.ndarray:
        """(P, T): the median over the seeds that have a value."""
        return median_over_seeds(np.moveaxis(self.norm_PRT, 1, 0))


def state_drawn(norms: Sequence[Norms]) -> str:
    """What the states are called together: `h` of a net with one cell and of the first cell of another."""
    names = {of_arm.state for of_arm in norms}
    if len(names) > 1:
        names = {name.rpartition(".")[2] for name in names}
    return names.pop() if len(names) == 1 else "s"


def gather(row: Row) -> Norms | None:
    """The arm's norms; None where no run recorded any."""
    pieces = []
    for run in row.arm.runs:
        found = run.adjoints()
        if found is not None:
            ours = [replica.outcome.seed for replica in row.arm.replicas if replica.run is run]
            pieces.append((found, np.isin(found.seed, ours)))
    if not pieces:
        return None
    length = max(found.norm_PRST.shape[3] for found, _ in pieces)
    step = np.unique(np.concatenate([found.step for found, _ in pieces]))
    norms = [np.full((len(step), int(ours.sum()), length), np.nan) for _, ours in pieces]
    for norm_PRT, (found, ours) in zip(norms, pieces, strict=True):
        # Sequences are aligned at their end, where the loss is.
        norm_PRT[np.searchsorted(step, found.step), :, -found.norm_PRST.shape[3] :] = found.norm_PRST[:, ours, 0]
    return Norms(row, step, np.concatenate(norms, axis=1), pieces[0][0].state[0])
