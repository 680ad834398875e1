"""A constant factor on the adjoint at every step back."""

from typing import ClassVar

from torch import Tensor

from rnnlab.contract import Positive, component


@component
class Scale:
    """a_{t-1} <- factor J_t^T a_t + direct part: k steps back the gradient has the factor to the power of k.

    Below 1 it forgets exponentially and tames an explosion, above 1 it holds against vanishing; a flow whose steps all
    stretch by 1/factor becomes level. All state components alike.

    Args:
        factor: > 0; 1 changes nothing.
    """

    factor: Positive
    acts: ClassVar[bool] = False

    def apply(self, adjoint_RBH: Tensor) -> Tensor:
        return adjoint_RBH

    def carry(self, step: int, component: str, adjoint_RBH: Tensor) -> Tensor:
        return self.factor * adjoint_RBH

    def cuts(self, step: int) -> bool:
        return False
