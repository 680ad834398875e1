"""Long short-term memory with coupled gates: it writes where it forgets (Greff et al. 2017, variant CIFG)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, checked


class CoupledLSTM(Cell):
    """c_t = f c_{t-1} + (1 - f) phi(a_g),  h_t = o phi(c_t), with gates f, o = sigmoid of their preactivation.

    Args:
        hidden: H.
        forget_bias: added once to the forget gate's initial bias.
        activation: makes phi, once for the candidate and once for the output.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("forget", "output", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    carried: ClassVar[dict[str, str]] = {"c": "forget"}

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
        f, o, a_g = self._opened(input_RBI, h)
        c = torch.lerp(self.candidate_activation(a_g), c, f)
        h = o * self.output_activation(c)
        return h, (h, c)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        f, o, _ = self._opened(input_RBI, state[0])
        return {"forget": f, "output": o}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """f, o and a_g."""
        gates, a_g = self.preactivation(input_RBI, h).split((2 * self.hidden, self.hidden), dim=-1)
        return *torch.sigmoid(gates).chunk(2, dim=-1), a_g
