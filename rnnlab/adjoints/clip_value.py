"""Clip every component of the adjoint at every time step (Graves 2013)."""

from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Positive, component


@component
class ClipValue(AdjointRule):
    """a_i <- min(max(a_i, -max_value), max_value) for the adjoint a = dL_b/dh_t of every example and step."""

    max_value: Positive

    def meet(self, adjoint_RBH: Tensor, direct_RB1: Tensor) -> Tensor:
        return adjoint_RBH.clamp(-self.max_value, self.max_value)
