"""Dead replica: a seed that can learn nothing any more."""

from rnnlab.diagnose.findings import Findings, Replica
from rnnlab.diagnose.remedies import clip, length_preserving, lower_rate
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, new, said
from rnnlab.runs.adjoints import LIVE

NAME = "dead replica"
CONDITION = (
    "a seed has diverged, its parameters are not finite, or the gradient of its recurrent weights is below "
    f"{LIVE:g} or not finite"
)


def judge(findings: Findings) -> Verdict | None:
    dead = {replica: reason for replica in findings.replicas if (reason := _reason(replica))}
    if not dead:
        return None
    seeds = [replica.seed for replica in dead]
    what = f"{len(dead)} of {len(findings.replicas)} seeds learn nothing any more ({listed(seeds)})."
    told = [f"seed {replica.seed} {reason}" for replica, reason in list(dead.items())[:LISTED]]
    if len(dead) > LISTED:
        told.append(f"and {len(dead) - LISTED} more")
    where = f"In training: {'; '.join(told)}."
    return Verdict(NAME, seeds, what, where, "", _techniques(findings, list(dead)))


LISTED = 6
"""Seeds whose end is told one by one."""


def _reason(replica: Replica) -> str:
    """'' of a seed that lives."""
    if replica.status == "diverged":
        norm = replica.history.last_norm
        known = f" (last finite gradient norm {said(norm)})" if norm == norm else ""
        return f"diverged at update {replica.updates}{known}"
    if replica.measured is None:
        return f"has parameters that are not finite at update {replica.updates}"
    norm = replica.measured.recurrent_gradient
    recurrent = len(replica.measured.contribution_T) > 0
    if recurrent and replica.status != "solved" and not LIVE <= norm < float("inf"):
        return f"has a gradient of {said(norm)} for its recurrent weights"
    return ""


def _techniques(findings: Findings, dead: list[Replica]) -> list[Remedy]:
    if all(r.status != "diverged" and r.measured is not None for r in dead):
        return new(
            findings,
            Remedy("activation=leaky_relu activation.slope=0.1", "units that are off pass some gradient on"),
            Remedy("bias_initialiser=zeros", "units begin where they have a slope"),
        )
    return new(findings, *clip(findings), lower_rate(findings), *length_preserving(findings))
