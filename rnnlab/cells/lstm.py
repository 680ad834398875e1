"""Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gate (Gers, Schmidhuber & Cummins 2000)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, checked


class LSTM(Cell):
    """c_t = f c_{t-1} + i phi(a_g),  h_t = o phi(c_t), with gates i, f, o = sigmoid of their preactivation.

    Args:
        hidden: H.
        forget_bias: added once to the forget gate's initial bias (there is one bias vector, not two that add up).
        activation: makes phi, once for the candidate and once for the output.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input", "forget", "output", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    carried: ClassVar[dict[str, str]] = {"c": "forget"}
    admitted: ClassVar[dict[str, str]] = {"c": "input"}

    @checked
    def __init__(
        self, *, hidden: Count, forget_bias: Finite, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.bias_shifts = {"forget": forget_bias}
        self.candidate_activation = activation()
        self.output_activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = state
        i, f, o, a_g = self._opened(input_RBI, h)
        c = torch.addcmul(f * c, i, self.candidate_activation(a_g))
        h = o * self.output_activation(c)
        return h, (h, c)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        i, f, o, _ = self._opened(input_RBI, state[0])
        return {"input": i, "forget": f, "output": o}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """i, f, o and a_g."""
        gates, a_g = self.preactivation(input_RBI, h).split((3 * self.hidden, self.hidden), dim=-1)
        return *torch.sigmoid(gates).chunk(3, dim=-1), a_g
