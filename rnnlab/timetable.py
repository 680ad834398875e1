"""At which training steps a probe measures. Imports no torch."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rnnlab.contract import CountOrZero, fields


@fields
class Timetable:
    """The keys that every probe has beside its own, for the prober, which asks the probe on these steps alone.

    Args:
        every: each so many updates; 0: never.
        first: each of the first so many updates.
        per_decade: so many per decade of updates, evenly on a logarithmic axis.
    """

    every: CountOrZero
    first: CountOrZero
    per_decade: CountOrZero

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Timetable":
        """That of a probe's configuration."""
        return cls(**{field.name: config[field.name] for field in dataclasses.fields(cls)})

    @property
    def empty(self) -> bool:
        """Whether it has no step at all."""
        return not (self.every or self.first or self.per_decade)

    def due(self, step: int) -> bool:
        """Whether it has this step (1-based)."""
        if step <= self.first or (self.every > 0 and step % self.every == 0):
            return True
        nearest = round(self.per_decade * math.log10(step))
        return self.per_decade > 0 and step == round(10 ** (nearest / self.per_decade))
