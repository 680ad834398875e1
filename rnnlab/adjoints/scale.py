"""A constant factor on the adjoint at every step back."""

from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.contract import Positive, component


@component
class Scale(AdjointRule):
    """a_{t-1} <- factor J_t^T a_t + direct part: k steps back the gradient has the factor to the power of k.

    Below 1 it forgets exponentially and tames an explosion, above 1 it holds against vanishing; a flow whose steps all
    stretch by 1/factor becomes level. All state components alike.

    Args:
        factor: > 0; 1 changes nothing.
    """

    factor: Positive

    def carry(self, step: int, component: str, adjoint_RBH: Tensor) -> Tensor:
        return self.factor * adjoint_RBH
