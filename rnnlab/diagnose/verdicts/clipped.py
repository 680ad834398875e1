"""Clip active: clipping is no safety net but sets the length of the steps."""

from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.remedies import lower_rate
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, middle, new, percent, said, typical

NAME = "clip active"
SHARE = 0.5
CONDITION = f"clipping changes the gradient at more than {100 * SHARE:g} % of a seed's updates"


def judge(findings: Findings) -> Verdict | None:
    seeds = [replica.seed for replica in findings.replicas if replica.history.clipped > SHARE]
    if not seeds:
        return None
    clipping, norms = findings.config.get("clipping"), findings.histories(lambda h: h.grad_norm, seeds)
    what = (
        f"In {listed(seeds)} clipping={clipping} changes the gradient at "
        f"{percent(findings.histories(lambda h: h.clipped, seeds))} of the updates."
    )
    bound = findings.config.get("clipping.max_norm")
    why = f"The median gradient norm is {typical(norms)}"
    why += f", the bound clipping.max_norm={bound}." if bound is not None else "."
    found = []
    if bound is not None:
        higher = said(2 * middle(norms), 2).replace(",", "")
        found.append(Remedy(f"clipping.max_norm={higher}", "twice the median norm: only the longest are clipped"))
    elif clipping != "norm":
        found.append(Remedy("clipping=norm", "keeps the gradient's direction"))
    return Verdict(NAME, seeds, what, "Over all of training so far.", why, new(findings, *found, lower_rate(findings)))
