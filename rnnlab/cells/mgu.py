"""The minimal gated unit (Zhou, Wu, Zhang & Zhou 2016)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, checked


class MGU(Cell):
    """f = sigmoid(x_t U_f + h_{t-1} W_f + b_f),  h_t = (1 - f) h_{t-1} + f phi(x_t U_h + (f h_{t-1}) W_h + b_h).

    Args:
        hidden: H.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("forget", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(self, *, hidden: Count, activation: ActivationFactory, replicas: Count, inputs: Count) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        f, a_h = self._opened(input_RBI, h)
        a_h = torch.baddbmm(a_h, f * h, self.block(self.weight_recurrent, "candidate"))
        h = torch.lerp(h, self.activation(a_h), f)
        return h, (h,)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        return {"forget": self._opened(input_RBI, state[0])[0]}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": 1 - gates["forget"]}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """f, and the candidate's preactivation without its recurrent part."""
        a_f, a_h = self.from_input(input_RBI).chunk(2, dim=-1)
        return sigmoid(torch.baddbmm(a_f, h, self.block(self.weight_recurrent, "forget"))), a_h
