"""What a verdict is, and how its figures are put into words. No torch."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rnnlab.diagnose.findings import Findings


@dataclass(frozen=True)
class Remedy:
    """What acts on it: `override`, as the command line takes it, and what that does."""

    override: str
    effect: str


@dataclass(frozen=True)
class Verdict:
    """A rule that holds for some seeds.

    Attributes:
        name: of the rule.
        seeds: those it holds for.
        what: the measured figure, in a sentence with its unit.
        where: along the sequence, or over training.
        why: what the measurements say of the cause; '' where there is nothing to say.
        techniques: those that act on it and that the run does not have yet.
    """

    name: str
    seeds: list[int]
    what: str
    where: str
    why: str
    techniques: list[Remedy]


@dataclass(frozen=True)
class Rule:
    """`condition`: in words, with the threshold; `judge`: None where it does not hold."""

    name: str
    condition: str
    judge: Callable[[Findings], Verdict | None]


def new(findings: Findings, *techniques: Remedy) -> list[Remedy]:
    """Those that the run does not have already, each once."""
    found: dict[str, Remedy] = {}
    for technique in techniques:
        if not findings.has(technique.override):
            found.setdefault(technique.override, technique)
    return list(found.values())


def typical(values: Sequence[float], unit: str = "", *, digits: int = 3) -> str:
    """The median, and the range where there are several: `1.9 steps (1.8 to 2.1)`."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "unknown"
    low, high = said(min(known), digits), said(max(known), digits)
    middle = said(_median(known), digits) + (f" {unit}" if unit else "")
    return middle if low == high else f"{middle} ({low} to {high})"


def percent(values: Sequence[float]) -> str:
    """Shares, as `typical` says them, in per cent."""
    return typical([100 * value for value in values], "%")


def middle(values: Sequence[float]) -> float:
    """The median of those that are not NaN; NaN of none."""
    known = [value for value in values if not math.isnan(value)]
    return _median(known) if known else math.nan


def mean(values: np.ndarray | float) -> float:
    """The mean of those that are finite; NaN of none."""
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def said(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; one from 100 on as a whole, one from 10^6 on as a power."""
    if not math.isfinite(value):
        return "nothing" if math.isnan(value) else "-infinity" if value < 0 else "infinity"
    if 100 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def spoken(cell: str) -> str:
    """`layer 2` for layer2: the name of a cell in words."""
    return re.sub(r"(\D)(\d)", r"\1 \2", cell)


def power(decades: float) -> str:
    """10^x in words for a share of the gradient."""
    return "nothing" if decades == -math.inf else f"10^{decades:.1f}"


def listed(seeds: Sequence[int]) -> str:
    """`seed 3`, `seeds 1, 2 and 5`; a long list is cut."""
    names = [str(seed) for seed in seeds]
    if len(names) == 1:
        return f"seed {names[0]}"
    if len(names) > 8:
        return f"seeds {', '.join(names[:7])} and {len(names) - 7} more"
    return f"seeds {', '.join(names[:-1])} and {names[-1]}"


def _median(values: Sequence[float]) -> float:
    """Without interpolation between infinities, which would be NaN."""
    ordered = np.sort(values)
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return low if low == high else (low + high) / 2
