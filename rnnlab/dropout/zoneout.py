"""Zoneout: units that keep their old state (Krueger et al. 2017)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import Cell, State
from rnnlab.contract import BelowOne, component
from rnnlab.dropout.dropout import Around, Dropout, Noise
from rnnlab.plan import Plan, Refusal


class _Zoned(Around):
    def __init__(self, cell: Cell, keeps_STRBH: list[Tensor]) -> None:
        super().__init__(cell)
        self.keeps_STRBH = keeps_STRBH

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        new = self.cell.step(input_RBI, state)[1]
        triples = zip(self.keeps_STRBH, state, new, strict=True)
        mixed = tuple(torch.where(self.at(keeps), old, fresh) for keeps, old, fresh in triples)
        self.time += 1
        return self.put_out(mixed), mixed


class _Expected(Around):
    def __init__(self, cell: Cell, rates: list[float]) -> None:
        super().__init__(cell)
        self.rates = rates

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        new = self.cell.step(input_RBI, state)[1]
        mixed = tuple(torch.lerp(n, old, rate) for n, old, rate in zip(new, state, self.rates, strict=True))
        return self.put_out(mixed), mixed


@component
class Zoneout(Dropout):
    """s_t = m s_{t-1} + (1 - m) s~_t, s~_t the state that the cell makes, m_i = 1 with probability z, else 0.

    m is drawn anew for every time step, example, unit and state component; an LSTM's h~_t is made from c~_t. A unit
    that is zoned out passes its gradient on whole. In evaluation m is its mean: s_t = z s_{t-1} + (1 - z) s~_t.

    Args:
        output_rate: z of the state component that is the output, h, in [0, 1).
        memory_rate: z of the others, such as an LSTM's c, where there are any, in [0, 1).
    """

    output_rate: BelowOne
    memory_rate: BelowOne

    within: ClassVar[bool] = True

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.states else f"It keeps states; {plan.chosen('cell')} has none"

    def drop(self, cell: Cell, input_TRBI: Tensor, noise: Noise) -> tuple[Cell, Tensor]:
        T, _, B, _ = input_TRBI.shape
        rates = zip(self._rates(cell), cell.widths, strict=True)
        return _Zoned(cell, [noise.chosen(rate, T, B, width) for rate, width in rates]), input_TRBI

    def expected(self, cell: Cell) -> Cell:
        return _Expected(cell, self._rates(cell))

    def _rates(self, cell: Cell) -> list[float]:
        return [self.output_rate if name in cell.put_out_states else self.memory_rate for name in cell.states]
