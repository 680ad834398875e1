"""Clip every component of the adjoint at every time step (Graves 2013)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.contract import Positive, component


@component
class ClipValue:
    """a_i <- min(max(a_i, -max_value), max_value) for the adjoint a = dL_b/dh_t of every example and step."""

    max_value: Positive
    acts: ClassVar[bool] = True

    def apply(self, adjoint_RBH: Tensor) -> Tensor:
        return adjoint_RBH.clamp(-self.max_value, self.max_value)

    def cuts(self, step: int) -> bool:
        return False
