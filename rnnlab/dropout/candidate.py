"""Recurrent dropout without loss of memory: of the candidate (Semeniuta, Severyn & Barth 2016)."""

import copy
from typing import ClassVar

from torch import Tensor, nn

from rnnlab.cells.cell import Cell
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.contract import BelowOne, component
from rnnlab.dropout.dropout import Dropout, Noise
from rnnlab.plan import Plan, Refusal


class _Masked(nn.Module):
    """phi(a) m_t, from time step 0 on."""

    def __init__(self, activation: nn.Module, mask_TRBH: Tensor) -> None:
        super().__init__()
        self.activation, self.mask_TRBH, self.time = activation, mask_TRBH, 0

    def forward(self, preactivation: Tensor) -> Tensor:
        self.time += 1
        return self.activation(preactivation) * self.mask_TRBH[self.time - 1]


@component
class Candidate(Dropout):
    """c_t = f c_{t-1} + i D(g_t) of an LSTM, h_t = z h_{t-1} + (1 - z) D(n_t) of a GRU, D(v) = v m / (1 - rate).

    m_i = 0 with probability `rate`, else 1, drawn anew for every time step, example and unit. What is dropped is what
    would be added to the memory, never the memory. Off in evaluation.

    Args:
        rate: in [0, 1).
    """

    rate: BelowOne

    within: ClassVar[bool] = True

    def why_not(self, plan: Plan) -> Refusal:
        if type(plan.cell) not in (LSTM, GRU):
            return "It acts within a step, and knows the inside of cell=lstm and cell=gru alone"
        return None

    def drop(self, cell: Cell, input_TRBI: Tensor, noise: Noise) -> tuple[Cell, Tensor]:
        T, _, B, _ = input_TRBI.shape
        name = "candidate_activation" if isinstance(cell, LSTM) else "activation"
        twin = copy.copy(cell)
        masked = _Masked(cell.get_submodule(name), noise.kept(self.rate, T, B, cell.hidden))
        twin._modules = {**cell._modules, name: masked}
        return twin, input_TRBI
