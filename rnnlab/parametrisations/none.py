"""Recurrent weights that are trained themselves."""

from typing import ClassVar

from torch import Tensor

from rnnlab.contract import component
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class NoParametrisation(Parametrisation):
    """W is the trained parameter."""

    acts: ClassVar[bool] = False

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        return {"weight": drawn}, {}

    def weight(self, *, weight: Tensor) -> Tensor:
        return weight
