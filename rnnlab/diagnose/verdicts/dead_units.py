"""Dead units: no example moves them, at no time step."""

from rnnlab.diagnose.findings import Findings, Measured
from rnnlab.diagnose.remedies import lower_rate
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, new, percent

NAME = "dead units"
SLOPE = 1e-6
SHARE = 0.1
CONDITION = (
    f"at least {100 * SHARE:g} % of an activation's units have a slope of at most {SLOPE:g}, or outputs that span no "
    "more, over all steps of all examples"
)


def judge(findings: Findings) -> Verdict | None:
    seeds = findings.seeds_where(lambda m: _most(m) >= SHARE)
    if not seeds:
        return None
    share = percent(findings.of(seeds, _most))
    what = f"In {listed(seeds)} {share} of the units are dead: nothing is learnt through them."
    found = [
        Remedy("bias_initialiser=zeros", "units begin where they have a slope"),
        Remedy("activation=leaky_relu activation.slope=0.1", "a unit that is off can be turned on again"),
        lower_rate(findings),
    ]
    if findings.config.get("clipping") == "none":
        found.append(Remedy("clipping=norm", "no single update can push units out of reach"))
    why = "Their preactivations lie on the flat side for every input; no gradient passes that could bring them back."
    where = f"At all {findings.length} time steps of all {findings.examples} examples."
    return Verdict(NAME, seeds, what, where, why, new(findings, *found))


def _most(measured: Measured) -> float:
    return max(measured.dead.values(), default=0.0)
