"""Candidates must do the same work before their times are compared."""

from collections.abc import Callable, Mapping
from math import isnan, nan
from typing import Any, NamedTuple

from torch import Tensor

TOLERANCE = 1e-4
"""Largest relative difference, in float32."""
Numbers = Mapping[str, Tensor]
"""What one forward and backward gave: gradients by the cell's names, (R, ...); `norm` (S, T, R, B); `output`."""


class Candidate(NamedTuple):
    """One way to do the work: the timed part, and what makes numbers of what it returned."""

    run: Callable[[], Any]
    numbers: Callable[[Any], Numbers]


def check_agreement(candidates: Mapping[str, Candidate], reference: str) -> None:
    """Run each candidate once, which also warms it up, and hold it against the reference.

    Raises:
        RuntimeError: what both give differs or is not finite.
    """
    found = {name: candidate.numbers(candidate.run()) for name, candidate in candidates.items()}
    for name, numbers in found.items():
        off = difference(numbers, found[reference])
        if not off <= TOLERANCE:  # so that NaN fails
            raise RuntimeError(f"{name} and {reference} differ by {off:.2g}; times of other work mean nothing")


def difference(found: Numbers, expected: Numbers) -> float:
    """The largest, relative to a tensor's largest number; of norms, which vanish, to each. NaN if there is one."""
    both = {name: (found[name].to(value), value) for name, value in expected.items() if name in found}
    scale = {name: value if name == "norm" else value.abs().max() for name, value in expected.items()}
    off = [((ours - value).abs() / scale[name]).max().item() for name, (ours, value) in both.items()]
    return nan if any(map(isnan, off)) else max(off)
