"""Candidates must do the same work before their times are compared.

T time, R replica, B batch, S state component.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-4
"""Largest relative difference, in float32."""


@dataclass(frozen=True)
class Outcome:
    """What one forward and backward gave: gradients by the cell's parameter names, (R, ...), and adjoint norms."""

    gradients: Mapping[str, Tensor]
    norm_STRB: Tensor | None


@dataclass(frozen=True)
class Candidate:
    """One way to do the work.

    run: forward and backward; the timed part.
    outcome: turns what `run` returned into comparable figures; not timed.
    records: whether it gives adjoint norms.
    """

    run: Callable[[], Any]
    outcome: Callable[[Any], Outcome]
    records: bool


def check_agreement(candidates: Mapping[str, Candidate], reference: str) -> None:
    """Run each candidate once, which also warms it up, and hold it against the reference.

    Raises:
        RuntimeError: gradients or norms differ, are missing or are not finite.
    """
    first = candidates[reference]
    expected = first.outcome(first.run())
    for name, candidate in candidates.items():
        _compare(name, candidate, candidate.outcome(candidate.run()), expected, reference)


def _compare(name: str, candidate: Candidate, found: Outcome, expected: Outcome, reference: str) -> None:
    if candidate.records != (found.norm_STRB is not None):
        raise RuntimeError(f"{name}: adjoint norms are {'missing' if candidate.records else 'there'}")
    if set(found.gradients) != set(expected.gradients):
        raise RuntimeError(f"{name}: gradients of {sorted(found.gradients)}, not of {sorted(expected.gradients)}")
    for parameter, gradient in expected.gradients.items():
        scale = torch.linalg.vector_norm(gradient)
        difference = torch.linalg.vector_norm(found.gradients[parameter] - gradient) / scale
        _require(difference, f"{name} and {reference}: gradient of {parameter}")
    if found.norm_STRB is not None and expected.norm_STRB is not None:
        if found.norm_STRB.shape != expected.norm_STRB.shape:
            raise RuntimeError(f"{name}: norms {tuple(found.norm_STRB.shape)}, not {tuple(expected.norm_STRB.shape)}")
        difference = ((found.norm_STRB - expected.norm_STRB).abs() / expected.norm_STRB).max()
        _require(difference, f"{name} and {reference}: adjoint norms")


def _require(difference: Tensor, what: str) -> None:
    # Written so that NaN fails.
    if not difference.item() <= TOLERANCE:
        raise RuntimeError(f"{what} differ by {difference.item():.2g} of their size; times of other work mean nothing")
