"""JANET, an LSTM with the forget gate alone (van der Westhuizen & Lasenby 2018)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, checked


class JANET(Cell):
    """h_t = sigmoid(s) h_{t-1} + (1 - sigmoid(s - beta)) phi(a_h),  s = x_t U_f + h_{t-1} W_f + b_f, a_h likewise.

    Args:
        hidden: H.
        beta: how much more is written than was forgotten; the paper's is 1. With 0 it writes what it forgets.
        forget_bias: added once to the forget gate's initial bias. (The paper draws it by the length of the task.)
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("forget", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h",)
    carried: ClassVar[dict[str, str]] = {"h": "forget"}

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        beta: Finite,
        forget_bias: Finite,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.beta, self.bias_shifts = beta, {"forget": forget_bias}
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        s, a_h = self.preactivation(input_RBI, h).chunk(2, dim=-1)
        h = torch.addcmul(sigmoid(s) * h, sigmoid(self.beta - s), self.activation(a_h))
        return h, (h,)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        s, _ = self.preactivation(input_RBI, state[0]).chunk(2, dim=-1)
        return {"forget": sigmoid(s)}
