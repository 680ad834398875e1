"""All rules, in the order in which a page tells them: what ends a replica first, what it has not learnt last."""

from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.verdict import Rule, Verdict
from rnnlab.diagnose.verdicts import (
    at_baseline,
    clipped,
    dead_replica,
    dead_units,
    exploding,
    one_addend,
    saturated,
    truncated,
    vanishing,
)

RULES: tuple[Rule, ...] = tuple(
    Rule(module.NAME, module.CONDITION, module.judge)
    for module in (
        dead_replica,
        exploding,
        vanishing,
        truncated,
        saturated,
        dead_units,
        clipped,
        one_addend,
        at_baseline,
    )
)


def verdicts(findings: Findings) -> list[Verdict]:
    """Those of the rules that hold; none of a healthy run."""
    found = [rule.judge(findings) for rule in RULES]
    return [verdict for verdict in found if verdict is not None]
