"""A constant learning rate."""

from rnnlab.contract import component


@component
class Constant:
    """factor(step) = 1."""

    def factor(self, step: int, steps: int) -> float:
        return 1.0
