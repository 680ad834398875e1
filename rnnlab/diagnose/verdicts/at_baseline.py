"""No better than the baseline: the net has learnt nothing that needs memory."""

from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.verdict import Remedy, Verdict, listed, typical

NAME = "no better than the baseline"
NEAR = 0.95
CONDITION = f"the loss on held-out examples is at least {NEAR:g} of that of the best strategy that remembers nothing"


def judge(findings: Findings) -> Verdict | None:
    solved = [replica.seed for replica in findings.replicas if replica.status == "solved"]
    near = findings.seeds_where(lambda m: m.loss >= NEAR * findings.baseline)
    seeds = [seed for seed in near if seed not in solved]
    if not seeds:
        return None
    losses = findings.of(seeds, lambda m: m.loss)
    what = (
        f"In {listed(seeds)} the loss is {typical(losses)} {findings.unit}; remembering nothing gives "
        f"{findings.baseline:.4g}."
    )
    where = f"After {findings.update} of {findings.steps} updates."
    rates = Remedy("sweep=lr_grid", "other learning rates, where no other verdict tells the cause")
    return Verdict(NAME, seeds, what, where, "", [rates])
