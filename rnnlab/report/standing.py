"""How one seed's outcome compares with another's: the order that ranking and pairs are made from. No torch."""

from collections.abc import Sequence

import numpy as np

from rnnlab.report.arms import Replica

RULE = (
    "A seed beats another when it solves the task in fewer updates; one that solves it beats one that does not; of two "
    "that do not, the one with the lower last evaluation loss is better; a diverged seed is behind all others."
)


def standings(arms: Sequence[Sequence[Replica]]) -> list[np.ndarray]:
    """Per arm, (N,) a number for each replica: the higher, the better, equal where neither is.

    One order over solved and unsolved seeds alike leaves nobody out and uses everything that is known: a worst-rank
    score (Lachin 1999, Worst-rank score analysis with informatively missing observations).
    """
    keys = [[_key(replica) for replica in arm] for arm in arms]
    place = {key: float(k) for k, key in enumerate(sorted({key for arm in keys for key in arm}))}
    return [np.array([place[key] for key in arm]) for arm in keys]


def _key(replica: Replica) -> tuple[int, float]:
    outcome = replica.outcome
    if outcome.steps_to_solve is not None:
        return 2, -float(outcome.steps_to_solve)
    if outcome.status == "diverged":
        return 0, 0.0
    return 1, -outcome.final_loss if np.isfinite(outcome.final_loss) else -np.inf
