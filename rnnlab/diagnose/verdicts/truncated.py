"""Truncated: the adjoint rule cuts the gradient before it gets to the inputs that count."""

from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.verdict import Remedy, Verdict, new

NAME = "truncated"
CONDITION = "the adjoint rule lets nothing pass at a step between the last one and the earliest input that counts"


def judge(findings: Findings) -> Verdict | None:
    first = findings.length - 1 - findings.lag
    between = [t for t in findings.cuts if t > first]
    if not between:
        return None
    back = findings.length - 1 - max(between)
    what = (
        f"adjoint={findings.config.get('adjoint')} cuts the gradient {len(between)} times on the way to the earliest "
        f"input that counts, {findings.lag} steps back; it reaches {back} steps back."
    )
    where = f"The cut next to the end is before time step {max(between) + 1} of {findings.length}."
    seeds = [replica.seed for replica in findings.replicas]
    whole = Remedy("adjoint=none", "the gradient of the whole sequence")
    return Verdict(NAME, seeds, what, where, "The rule does so whatever the net.", new(findings, whole))
