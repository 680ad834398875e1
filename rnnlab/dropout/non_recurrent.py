"""Dropout of the non-recurrent connections (Zaremba, Sutskever & Vinyals 2014)."""

from torch import Tensor

from rnnlab.cells.cell import Cell
from rnnlab.contract import BelowOne, component
from rnnlab.dropout.dropout import Dropout, Noise
from rnnlab.plan import Plan, Refusal


@component
class NonRecurrent(Dropout):
    """Every cell sees D(x_t) and the readout D(h_t), D(v) = v m / (1 - p), m_i = 0 with probability p, else 1.

    m is drawn anew for every time step, example and component. h_t goes on to the next step whole, so what is
    remembered is not disturbed as often as there are steps. Of layers, x_t is the output below. Off in evaluation.

    Args:
        inputs_rate, outputs_rate: p of x and of h, in [0, 1).
    """

    inputs_rate: BelowOne
    outputs_rate: BelowOne

    def why_not(self, plan: Plan) -> Refusal:
        if self.inputs_rate and not plan.cell.states:
            return {"inputs_rate": f"It is of what cells see; with {plan.chosen('cell')} there are none; allowed: 0"}
        return None

    def drop(self, cell: Cell, input_TRBI: Tensor, noise: Noise) -> tuple[Cell, Tensor]:
        T, _, B, I = input_TRBI.shape
        return cell, input_TRBI * noise.kept(self.inputs_rate, T, B, I)

    def drop_outputs(self, output_KRBH: Tensor, noise: Noise) -> Tensor:
        K, _, B, H = output_KRBH.shape
        return output_KRBH * noise.kept(self.outputs_rate, K, B, H)
