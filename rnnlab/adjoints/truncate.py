"""Truncated back-propagation through time (Williams & Peng 1990), within one sequence."""

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Count, component
from rnnlab.plan import Plan, Refusal


@component
class Truncate(AdjointRule):
    """Cut the adjoint every `every` steps: nothing flows back across the time steps every, 2 every, …"""

    every: Count

    def why_not(self, plan: Plan) -> Refusal:
        if self.every >= plan.task.steps:
            return {"every": f"A sequence has {plan.task.steps} steps, so this would cut nothing"}
        return None

    def cuts(self, step: int) -> bool:
        return step > 0 and step % self.every == 0
