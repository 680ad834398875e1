"""No regulariser."""

from typing import ClassVar

from rnnlab.contract import component
from rnnlab.regularisers.regulariser import Regulariser


@component
class NoRegulariser(Regulariser):
    """The loss as it is."""

    acts: ClassVar[bool] = False
