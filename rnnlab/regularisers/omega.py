"""Steps back through time that keep the gradient's length (Pascanu, Mikolov & Bengio 2013)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.cells.rnn import RNN
from rnnlab.contract import Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.regularisers.regulariser import Regulariser


@component
class Omega(Regulariser):
    """P = strength mean_t (|d_{t+1} diag(phi'(a_{t+1})) W^T|^2 / |d_{t+1}|^2 - 1)^2, d_t = dL/dh_t the total adjoint.

    The gradient is the immediate one, with respect to the W that is written there: d, phi' and the states are held
    constant. The mean is over the examples and those of their steps where d is a normal number. As in the paper's
    published code there are squares of norms where its equation has the norms; that code also counts the step back into
    h_0, and only steps with |d|^2 >= 1e-20, which at a lag that matters here would leave nothing to keep alive.

    For the Elman net, whose step it is about. d is there in the autograd engine only.

    Args:
        strength: the paper's alpha, > 0.
    """

    strength: Positive

    needs: ClassVar[tuple[str, ...]] = ("outputs", "adjoints")

    def why_not(self, plan: Plan) -> Refusal:
        if plan.has("dropout"):
            return f"Its penalty is that of the steps without {plan.chosen('dropout')}"
        if not isinstance(plan.cell, RNN):
            return "It is for the step h_t = phi(x_t U + h_{t-1} W + b) of cell=rnn"
        return None

    def penalty(self, call: Call) -> Tensor:
        cell, adjoints, output_TRBH = call.cell, call.unrolled.adjoints, call.unrolled.output_KRBH.detach()
        assert isinstance(cell, RNN)
        assert adjoints is not None
        adjoint_TRBH = adjoints[0]
        length_TRB1 = torch.linalg.vector_norm(adjoint_TRBH[1:], dim=-1, keepdim=True)
        tiny = torch.finfo(length_TRB1.dtype).tiny
        live_TRB = (length_TRB1.squeeze(-1) > tiny) & (call.live[:-1] > 0)
        slope_RNH = _slope(cell, _flat(call.input_TRBI[1:].detach()), _flat(output_TRBH[:-1]))
        unit_RNH = _flat(adjoint_TRBH[1:] / length_TRB1.clamp(min=tiny))
        back_RNH = torch.bmm(unit_RNH * slope_RNH, cell.weight_recurrent.mT)
        apart_RN = (back_RNH.square().sum(-1) - 1).square().masked_fill(~_flat(live_TRB.unsqueeze(-1))[..., 0], 0)
        count_R = live_TRB.sum((0, 2)).clamp(min=1)
        return self.strength * apart_RN.sum(1) / count_R


def _flat(value_TRBX: Tensor) -> Tensor:
    """(R, N, X), all steps and examples side by side."""
    return value_TRBX.transpose(0, 1).flatten(1, 2).contiguous()


def _slope(cell: RNN, input_RNI: Tensor, before_RNH: Tensor) -> Tensor:
    """phi'(a), a constant: an activation acts on every element alone."""
    with torch.no_grad():
        a = cell.preactivation(input_RNI, before_RNH)
    a.requires_grad_()
    (slope_RNH,) = torch.autograd.grad(cell.activation(a).sum(), a)
    return slope_RNH
