"""Learning only one addend: the second plateau of the adding problem, at half of the baseline (1/12)."""

from rnnlab.diagnose import decay
from rnnlab.diagnose.findings import Findings, Measured
from rnnlab.diagnose.remedies import carry
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, middle, new, said, typical

NAME = "learning only one addend"
FOLLOWED, IGNORED = 0.6, 0.3
"""Of the two coefficients in answer = a x1 + b x2 + c, least squares; a solved net has two of 1."""
SOME = 1.0
"""Decades lost, from which on the way back is a cause."""
CONDITION = (
    f"adding task: the answer follows one marked number with a coefficient of at least {FOLLOWED:g} and the other with "
    f"at most {IGNORED:g} (the plateau at a loss of 1/12)"
)


def judge(findings: Findings) -> Verdict | None:
    seeds = findings.seeds_where(_one)
    if not seeds:
        return None
    first, second = (middle([a[k] for a in _addends(findings, seeds)]) for k in (0, 1))
    known = "second, the later one" if second > first else "first, the earlier one"
    loss = typical(findings.of(seeds, lambda m: m.loss))
    what = (
        f"In {listed(seeds)} the answer follows one of the two numbers, the {known}: coefficients {said(first, 2)} "
        f"(first) and {said(second, 2)} (second). The loss is {loss}; with one "
        f"addend known it is 1/12 = {1 / 12:.4f}, with none 1/6 = {1 / 6:.4f}."
    )
    half = findings.length // 2
    where = (
        f"The first number lies {half} to {findings.length - 1} steps back, the second up to {half}."
        if findings.config.get("task.markers") == "halves"
        else f"The numbers lie up to {findings.length - 1} steps back."
    )
    return Verdict(NAME, seeds, what, where, _why(findings, seeds), new(findings, *_techniques(findings, seeds)))


def _one(measured: Measured) -> bool:
    if measured.addends is None:
        return False
    low, high = sorted(measured.addends)
    return high >= FOLLOWED and abs(low) <= IGNORED


def _addends(findings: Findings, seeds: list[int]) -> list[tuple[float, float]]:
    return [m.addends for m in findings.among(seeds) if m.addends is not None]


def _lost(findings: Findings, seeds: list[int]) -> float:
    return middle(findings.of(seeds, lambda m: decay.lost(m.gain_T, findings.lag)))


def _techniques(findings: Findings, seeds: list[int]) -> list[Remedy]:
    found = carry(findings, seeds) if _lost(findings, seeds) >= SOME else []
    return [*found, Remedy(f"steps={2 * findings.steps}", "this plateau is often left late")]


def _why(findings: Findings, seeds: list[int]) -> str:
    share = middle(findings.of(seeds, _of_first_half))
    return (
        f"The first half of the steps gives {said(100 * share, 2)} % of the gradient of the recurrent weights; "
        f"{said(_lost(findings, seeds), 2)} decades of the last step's gradient are lost over {findings.lag} steps."
    )


def _of_first_half(measured: Measured) -> float:
    share_T = measured.contribution_T
    return float(share_T[: len(share_T) // 2].sum()) if len(share_T) else float("nan")
