"""Vanishing: too little of the gradient arrives where the answer's inputs are."""

from collections.abc import Sequence

from rnnlab.diagnose import decay
from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.remedies import carry
from rnnlab.diagnose.verdict import Verdict, listed, middle, new, power, said, spoken, typical
from rnnlab.diagnose.why import explained

NAME = "vanishing"
LOST = 3.0
"""Decades. A line drawn by us: nets that solved their task lost less than half a decade, nets that could not six and
more (docs/decisions/0018)."""
CONDITION = (
    f"at least {LOST:g} decades of the last step's gradient are lost on the way to the earliest input that counts"
)


def judge(findings: Findings) -> Verdict | None:
    lag = findings.lag
    seeds = findings.seeds_where(lambda m: decay.lost(m.gain_T, lag) >= LOST)
    if not seeds:
        return None
    arriving = -middle(findings.of(seeds, lambda m: decay.lost(m.gain_T, lag)))
    halves = findings.of(seeds, lambda m: decay.half_life(m.gain_T, lag))
    what = (
        f"In {listed(seeds)} the gradient halves every {typical(halves, 'steps')} on its way back. The earliest "
        f"input that counts lies {lag} steps back{_relative(middle(halves), lag)}, and {power(arriving)} of it "
        "arrives there."
    )
    return Verdict(
        NAME, seeds, what, _where(findings, seeds), explained(findings, seeds), new(findings, *carry(findings, seeds))
    )


def _relative(half: float, lag: int) -> str:
    return f", {said(lag / half, 2)} half-lives" if 0 < half < float("inf") else ""


def _where(findings: Findings, seeds: Sequence[int]) -> str:
    back = round(middle(findings.of(seeds, lambda m: float(decay.reach(m.gain_T, 10**-LOST)))))
    text = f"A thousandth is left {back} steps back, at time step {findings.length - back} of {findings.length}."
    parts = [decay.quarters(m.gain_T, findings.lag) for m in findings.among(seeds)]
    columns = [middle(column) for column in zip(*parts, strict=True)]
    if columns:
        text += f" Decades lost per quarter of the way, from the last step back: {', '.join(map(_short, columns))}."
    return text + "".join(_in_cell(findings, seeds, name) for name in findings.cells)


def _in_cell(findings: Findings, seeds: Sequence[int], name: str) -> str:
    """Where along the sequence one of several cells loses it."""
    measured = findings.among(seeds)
    lost = middle([decay.lost(m.gains[name], findings.lag) for m in measured])
    spans = [found for m in measured if (found := decay.span(m.gains[name], findings.lag))]
    if not spans or lost <= 0:
        return f" Nothing is lost in {spoken(name)}."
    first, last = (round(middle([float(found[end]) for found in spans])) for end in (0, 1))
    return f" Lost in {spoken(name)} between t={first} and t={last}: {_short(lost)} decades."


def _short(value: float) -> str:
    return said(round(value, 1), 3)
