"""Dropout with one mask for the whole sequence (Gal & Ghahramani 2016)."""

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
class Variational(Dropout):
    """D(x_t), D(h_{t-1}) in all gates, and D(h_t) in the readout, D(v) = v m / (1 - p), with the same m at every step.

    m_i = 0 with probability p, else 1: one draw per sequence, for x, h_{t-1} and the readout's h_t each. What carries a
    state on (c; the GRU's z h_{t-1}) is not masked. Off in evaluation.

    Args:
        inputs_rate, recurrent_rate, outputs_rate: p of x, h_{t-1} and the readout's h_t, in [0, 1).
    """

    inputs_rate: BelowOne
    recurrent_rate: BelowOne
    outputs_rate: BelowOne

    within: ClassVar[bool] = True

    def why_not(self, plan: Plan) -> Refusal:
        if type(plan.cell) not in (RNN, LSTM, GRU):
            return "It acts within a step, and knows the inside of cell=rnn, cell=lstm and cell=gru alone"
        return None

    def drop(self, cell: Cell, input_TRBI: Tensor, noise: Noise) -> tuple[Cell, Tensor]:
        _, _, B, I = input_TRBI.shape
        mask_1RBI = noise.kept(self.inputs_rate, 1, B, I)
        masked = MaskedRecurrence(cell, noise.kept(self.recurrent_rate, 1, B, cell.hidden))
        return masked, input_TRBI * mask_1RBI

    def drop_outputs(self, output_KRBH: Tensor, noise: Noise) -> Tensor:
        _, _, B, H = output_KRBH.shape
        return output_KRBH * noise.kept(self.outputs_rate, 1, B, H)
