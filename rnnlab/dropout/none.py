"""No dropout."""

from typing import ClassVar

from torch import Tensor

from rnnlab.cells.cell import Cell
from rnnlab.contract import component
from rnnlab.dropout.dropout import Dropped, Noise


@component
class NoDropout:
    """Everything is kept."""

    within: ClassVar[bool] = False

    def drop(self, cell: Cell, input_TRBI: Tensor, scored: int, noise: Noise) -> Dropped:
        return Dropped(cell, input_TRBI)

    def expected(self, cell: Cell) -> Cell:
        return cell
