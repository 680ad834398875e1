"""Truncated back-propagation through time (Williams & Peng 1990), within one sequence."""

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Count, component


@component
class Truncate(AdjointRule):
    """Cut the adjoint every `every` steps: nothing flows back across the time steps every, 2 every, …"""

    every: Count

    def cuts(self, step: int) -> bool:
        return step > 0 and step % self.every == 0
