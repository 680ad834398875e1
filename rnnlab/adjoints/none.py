"""Plain back-propagation through time."""

from typing import ClassVar

from torch import Tensor

from rnnlab.contract import component


@component
class NoRule:
    """Leaves every adjoint as it is."""

    acts: ClassVar[bool] = False

    def apply(self, adjoint_RBH: Tensor) -> Tensor:
        return adjoint_RBH

    def cuts(self, step: int) -> bool:
        return False
