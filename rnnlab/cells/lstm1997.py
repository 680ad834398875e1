"""Long short-term memory as it was at first, without forget gate (Hochreiter & Schmidhuber 1997)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, checked


class LSTM1997(Cell):
    """c_t = c_{t-1} + i phi(a_g),  h_t = o phi(c_t), with gates i, o = sigmoid of their preactivation.

    The cell state's own path has the factor 1: the constant error carousel. (The paper has scaled sigmoids where phi
    is, and cuts the gradient at the gates; here it flows along every path.)

    Nothing forgets, so what gets in by chance adds up over the sequence until phi is flat (the paper's drift). Its
    remedy is an input gate that begins nearly shut, biased by -3 in its adding problem.

    Args:
        hidden: H.
        input_bias: added once to the input gate's initial bias.
        activation: makes phi, once for the candidate and once for the output.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input", "output", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    @checked
    def __init__(
        self, *, hidden: Count, input_bias: Finite, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.bias_shifts = {"input": input_bias}
        self.candidate_activation = activation()
        self.output_activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = state
        i, o, a_g = self._opened(input_RBI, h)
        c = torch.addcmul(c, i, self.candidate_activation(a_g))
        h = o * self.output_activation(c)
        return h, (h, c)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        i, o, _ = self._opened(input_RBI, state[0])
        return {"input": i, "output": o}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"c": torch.ones_like(gates["input"])}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """i, o and a_g."""
        gates, a_g = self.preactivation(input_RBI, h).split((2 * self.hidden, self.hidden), dim=-1)
        return *torch.sigmoid(gates).chunk(2, dim=-1), a_g
