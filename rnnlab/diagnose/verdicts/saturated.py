"""Saturated: most units stand where their activation is flat."""

import numpy as np

from rnnlab.diagnose.findings import Findings, Measured
from rnnlab.diagnose.remedies import lower_rate
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, mean, middle, new, percent, said

NAME = "saturated"
SLOPE = 0.05
"""Of tanh where it is beyond 0.975."""
SHARE = 0.5
CONDITION = (
    f"an activation that is flat at both ends has a slope below {SLOPE:g} in more than {100 * SHARE:g} % of units, "
    "steps and examples"
)


def judge(findings: Findings) -> Verdict | None:
    seeds = findings.seeds_where(lambda m: _most(m) > SHARE)
    if not seeds:
        return None
    name = max(findings.among(seeds), key=_most).saturated
    worst = max(name, key=lambda key: name[key])
    what = f"In {listed(seeds)} {percent(findings.of(seeds, _most))} of the {worst}'s slopes are below {SLOPE:g}."
    slopes = findings.of(seeds, lambda m: mean(m.units.get("slope", np.empty(0))))
    why = f"Their mean slope is {said(middle(slopes))}; preactivations are too large." if slopes else ""
    return Verdict(NAME, seeds, what, _where(findings, seeds), why, _techniques(findings))


def _most(measured: Measured) -> float:
    return max(measured.saturated.values(), default=0.0)


def _where(findings: Findings, seeds: list[int]) -> str:
    """From which step on, in the median seed, half of the units are flat."""
    firsts = []
    for measured in findings.among(seeds):
        over = np.flatnonzero(measured.units.get("saturated", np.empty(0)) > SHARE)
        if over.size:
            firsts.append(float(over[0] + 1))
    return f"More than half of them from time step {round(middle(firsts))} of {findings.length} on." if firsts else ""


def _techniques(findings: Findings) -> list[Remedy]:
    found = [Remedy("activation=modrelu", "is never flat where a unit is on")]
    gain = findings.config.get("input_initialiser.gain")
    if gain is not None:
        found.append(Remedy(f"input_initialiser.gain={said(float(gain) / 2)}", "smaller preactivations, at first"))
    if findings.config.get("initialiser.gain", 1.0) > 1.0:
        found.append(Remedy("initialiser.gain=1.0", "recurrent weights that do not stretch, at first"))
    return new(findings, *found, lower_rate(findings))
