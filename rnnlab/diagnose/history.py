"""What a run's lines in metrics.jsonl say about clipping and the size of its gradients. No torch."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from rnnlab.diagnose.findings import History
from rnnlab.report.outcome import number

BEFORE = 20
"""Lines whose median a burst is measured against; with fewer than half of them there is none."""


def histories(rows: list[dict[str, Any]], seeds: list[int]) -> dict[int, History]:
    """By seed, from the lines of training; a seed without lines has a history of NaN."""
    by_seed: dict[int, list[dict[str, Any]]] = {seed: [] for seed in seeds}
    for row in rows:
        by_seed.get(row["seed"], []).append(row)
    return {seed: history(of) for seed, of in by_seed.items()}


@np.errstate(over="ignore")  # a gradient in float64 may have a norm whose double is infinite
def history(rows: list[dict[str, Any]]) -> History:
    """Of one seed's training lines, in their order."""
    step = np.array([row["step"] for row in rows], dtype=float)
    norm = np.array([number(row["grad_norm"]) for row in rows])
    finite = np.isfinite(norm)
    if not finite.any():
        return History(clipped=_clipped(rows))
    burst, burst_at = _burst(step[finite], norm[finite])
    return History(_clipped(rows), float(np.median(norm[finite])), burst, burst_at, float(norm[finite][-1]))


def _clipped(rows: list[dict[str, Any]]) -> float:
    """The lines' fractions are each of the updates since the line before."""
    updates = [after - before for before, after in pairwise([0, *(row["step"] for row in rows)])]
    shares = [number(row.get("clip_fraction")) for row in rows]
    known = [(n, share) for n, share in zip(updates, shares, strict=True) if n > 0 and not math.isnan(share)]
    total = sum(n for n, _ in known)
    return sum(n * share for n, share in known) / total if total else math.nan


def _burst(step: np.ndarray, norm: np.ndarray) -> tuple[float, int]:
    best, at = math.nan, 0
    for k in range(BEFORE // 2, len(norm)):
        usual = float(np.median(norm[max(0, k - BEFORE) : k]))
        if usual > 0 and not norm[k] / usual <= best:
            best, at = float(norm[k]) / usual, int(step[k])
    return best, at
