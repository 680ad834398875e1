"""Exploding: the gradient grows on its way back, or did so in bursts while training."""

from rnnlab.diagnose import decay
from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.remedies import clip, length_preserving, lower_rate, slower
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, middle, new, typical
from rnnlab.diagnose.why import blamed, explained

NAME = "exploding"
GROWN = 3.0
"""Decades, as many as for vanishing."""
BURST = 100.0
"""Times the median of the gradient norms logged before: far outside what batches and progress change."""
CONDITION = (
    f"the gradient grows by at least {GROWN:g} decades within the lag on its way back, or a logged gradient norm is at "
    f"least {BURST:g} times the median of those before it"
)


def judge(findings: Findings) -> Verdict | None:
    lag = findings.lag
    growing = findings.seeds_where(lambda m: decay.grown(m.gain_T, lag)[0] >= GROWN, diverged=True)
    bursting = [r.seed for r in findings.replicas if r.history.burst >= BURST]
    if not growing and not bursting:
        return None
    what, where = [], []
    if growing:
        tops = findings.of(growing, lambda m: decay.grown(m.gain_T, lag)[0])
        backs = findings.of(growing, lambda m: float(decay.grown(m.gain_T, lag)[1]))
        per_step = findings.of(growing, lambda m: -decay.slope(m.gain_T, lag))
        what.append(
            f"In {listed(growing)} the gradient grows by {typical(tops, 'decades')} on its way back, "
            f"{typical(per_step, 'decades per step')}."
        )
        at = findings.length - round(middle(backs))
        where.append(f"It is largest {typical(backs, 'steps')} back, at time step {at} of {findings.length}.")
        if any(r.status == "diverged" for r in findings.replicas if r.seed in growing):
            where.append("Diverged seeds are measured with their last finite parameters.")
    if bursting:
        ratios = findings.histories(lambda h: h.burst, bursting)
        updates = findings.histories(lambda h: float(h.burst_at), bursting)
        what.append(f"In {listed(bursting)} a gradient norm is {typical(ratios, 'times')} the median of those before.")
        where.append(f"The burst is at update {typical(updates)} of training.")
    seeds = sorted({*growing, *bursting})
    return Verdict(
        NAME, seeds, " ".join(what), " ".join(where), explained(findings, growing), _techniques(findings, growing)
    )


def _techniques(findings: Findings, growing: list[int]) -> list[Remedy]:
    found = clip(findings)
    cause = blamed(findings, growing, growing=True)
    if cause == "weights":
        found += length_preserving(findings)
    elif cause in ("gate", "detours"):
        found.append(slower(findings))
    if findings.config.get("activation") in ("identity", "relu", "leaky_relu", "modrelu"):
        found.append(Remedy("activation=tanh", "slopes of at most 1, and less where a unit is large"))
    return new(findings, *found, lower_rate(findings))
