"""What a schedule is."""

from typing import Protocol


class Schedule(Protocol):
    """What the learning rate is multiplied with."""

    def factor(self, step: int, steps: int) -> float:
        """The factor on the learning rate of the step-th update (1-based) of `steps`."""
        ...
