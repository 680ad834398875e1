"""The identity matrix, as in the IRNN (Le, Jaitly & Hinton 2015)."""

from typing import ClassVar

from torch import Generator, Tensor, nn

from rnnlab.contract import Finite, component
from rnnlab.initialisers.square import ForSquareWeights


@component
class Identity(ForSquareWeights):
    """scale * I on every gate block; scale 1 with ReLU is the IRNN. Only for square blocks: recurrent weights."""

    symmetric: ClassVar[bool] = True
    scale: Finite

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        nn.init.eye_(weight_OI)
        weight_OI.mul_(self.scale)
