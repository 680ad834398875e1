"""Why the gradient shrinks or grows on its way back: the measured split of its decay over causes."""

from collections.abc import Sequence

import numpy as np

from rnnlab.diagnose.findings import Findings, Measured
from rnnlab.diagnose.verdict import mean, middle, said

CAUSES = {
    "slope": "the slopes of the activation",
    "weights": "the recurrent weights",
    "gate": "the gate that carries the state on",
    "detours": "all paths beside that gate",
}
"""The keys of `Measured.causes`, in words."""


def per_step(measured: Measured, lag: int) -> dict[str, float]:
    """Decades per step back, by cause: the mean over the way back from the last step, where there is any gradient."""
    return {name: mean(way_T[-lag:] if lag else way_T[:0]) for name, way_T in measured.causes.items()}


def causes(findings: Findings, seeds: Sequence[int]) -> dict[str, float]:
    """The medians over these seeds of `per_step`; only causes that could be measured."""
    found = [per_step(m, findings.lag) for m in findings.among(seeds)]
    names = dict.fromkeys(name for one in found for name in one)
    medians = {name: middle([one[name] for one in found if name in one]) for name in names}
    return {name: value for name, value in medians.items() if not np.isnan(value)}


def blamed(findings: Findings, seeds: Sequence[int], *, growing: bool = False) -> str:
    """The cause that takes the most per step, or gives the most; '' where the split is not known."""
    found = causes(findings, seeds)
    if not found:
        return ""
    return max(found, key=lambda name: found[name]) if growing else min(found, key=lambda name: found[name])


def explained(findings: Findings, seeds: Sequence[int]) -> str:
    """The split in a sentence, with what stands behind each cause; '' where it is not known."""
    found = causes(findings, seeds)
    if not found:
        return ""
    parts = [f"{value:+.3f} by {CAUSES[name]}{_behind(findings, seeds, name)}" for name, value in found.items()]
    return f"Per step back the gradient changes by {sum(found.values()):+.3f} decades: {', '.join(parts)}."


def _behind(findings: Findings, seeds: Sequence[int], cause: str) -> str:
    """The figures of the units or weights that make a cause."""

    def figure(of: str, key: str) -> float:
        return middle(findings.of(seeds, lambda m: mean(getattr(m, of).get(key, np.empty(0)))))

    if cause == "slope":
        return f" (mean slope {said(figure('units', 'slope'))})"
    if cause == "weights":
        largest, radius = (
            figure("weights", f"{findings.call}hidden.largest singular value"),
            figure("weights", f"{findings.call}hidden.spectral radius"),
        )
        known = not np.isnan(largest)
        return f" (largest singular value {said(largest)}, spectral radius {said(radius)})" if known else ""
    if cause == "gate":
        where, throughout = said(10 ** causes(findings, seeds)[cause]), figure("units", "carrying gate")
        average = "" if np.isnan(throughout) else f", to {said(throughout)} on average"
        return f" (it is open to {where} where the gradient is{average})"
    return ""
