"""Plain back-propagation through time."""

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import component


@component
class NoRule(AdjointRule):
    """Leaves every adjoint as it is."""
