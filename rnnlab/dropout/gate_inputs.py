"""Dropout of what the gates see, and not of the cell state (compare Moon et al. 2015, who drop the cell state)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.cells.cell import Cell
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.cells.rnn import RNN
from rnnlab.contract import BelowOne, component
from rnnlab.dropout.dropout import Dropout, MaskedRecurrence, Noise
from rnnlab.plan import Plan, Refusal


@component
class GateInputs(Dropout):
    """D(x_t) and D(h_{t-1}) in the preactivations of all gates and of the candidate, D(v) = v m / (1 - rate).

    m_i = 0 with probability `rate`, else 1, drawn anew for every time step, example and component. The state is left
    alone: c, and the GRU's z h_{t-1}, so the straight path of the gradient is that of the gates. Off in evaluation.

    Args:
        rate: in [0, 1).
    """

    rate: BelowOne

    within: ClassVar[bool] = True

    def why_not(self, plan: Plan) -> Refusal:
        if type(plan.cell) not in (RNN, LSTM, GRU):
            return "It acts within a step, and knows the inside of cell=rnn, cell=lstm and cell=gru alone"
        return None

    def drop(self, cell: Cell, input_TRBI: Tensor, noise: Noise) -> tuple[Cell, Tensor]:
        T, _, B, I = input_TRBI.shape
        mask_TRBI = noise.kept(self.rate, T, B, I)
        return MaskedRecurrence(cell, noise.kept(self.rate, T, B, cell.hidden)), input_TRBI * mask_TRBI
