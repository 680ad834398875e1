"""Dropout of the non-recurrent connections (Zaremba, Sutskever & Vinyals 2014)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.cells.cell import Cell
from rnnlab.contract import BelowOne, component
from rnnlab.dropout.dropout import Dropped, Noise


@component
class NonRecurrent:
    """The cell sees D(x_t) and the readout D(h_t), D(v) = v m / (1 - p), m_i = 0 with probability p, else 1.

    m is drawn anew for every time step, example and component. h_t goes on to the next step whole, so what is
    remembered is not disturbed as often as there are steps. Off in evaluation.

    Args:
        inputs_rate, outputs_rate: p of x and of h, in [0, 1).
    """

    inputs_rate: BelowOne
    outputs_rate: BelowOne

    within: ClassVar[bool] = False

    def drop(self, cell: Cell, input_TRBI: Tensor, scored: int, noise: Noise) -> Dropped:
        T, _, B, I = input_TRBI.shape
        mask_TRBI = noise.kept(self.inputs_rate, T, B, I)
        return Dropped(cell, input_TRBI * mask_TRBI, noise.kept(self.outputs_rate, scored, B, cell.hidden))

    def expected(self, cell: Cell) -> Cell:
        return cell
