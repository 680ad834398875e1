"""Long short-term memory with layer normalisation (Ba, Kiros & Hinton 2016)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.cells.affine import at_least_two
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.cells.layer_norm import layer_norm, single_input
from rnnlab.contract import Count, Finite, Positive, checked
from rnnlab.plan import Plan


class LayerNormLSTM(Cell):
    """a = LN(x_t U) + LN(h_{t-1} W) + b,  c_t = f c_{t-1} + i phi(a_g),  h_t = o phi(LN(c_t) + b_c).

    Gates i, f, o = sigmoid of their blocks of a. LN(a) = g (a - mean) / sqrt(variance + epsilon), over the four blocks
    together as in the paper, each LN with a gain g of its own that starts at 1. Scaling U, or W, changes nothing (but
    for epsilon). b_c starts at zero. (The paper's separate shifts of the first two LN add up to the one b.)

    Of a single input (I = 1) LN(x_t U) keeps the sign alone: the value of x_t is lost.

    Args:
        hidden: H, at least 2.
        forget_bias: added once to the forget gate's initial bias.
        epsilon: added to the variance.
        activation: makes phi, once for the candidate and once for the output.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input", "forget", "output", "candidate")
    least: ClassVar[int] = 2  # one unit, normalised, is 0
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    carried: ClassVar[dict[str, str]] = {"c": "forget"}
    admitted: ClassVar[dict[str, str]] = {"c": "input"}

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        forget_bias: Finite,
        epsilon: Positive,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.bias_shifts, self.epsilon = {"forget": forget_bias}, epsilon
        self.gain_input = nn.Parameter(torch.ones(replicas, 1, 4 * hidden))
        self.gain_recurrent = nn.Parameter(torch.ones(replicas, 1, 4 * hidden))
        self.gain_cell = nn.Parameter(torch.ones(replicas, 1, hidden))
        self.bias_cell = nn.Parameter(torch.zeros(replicas, 1, hidden))
        self.candidate_activation = activation()
        self.output_activation = activation()

    def remark(self, plan: Plan) -> str | None:
        return single_input(self, plan)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = state
        i, f, o, a_g = self._opened(input_RBI, h)
        c = torch.addcmul(f * c, i, self.candidate_activation(a_g))
        h = o * self.output_activation(layer_norm(c, self.gain_cell, self.epsilon) + self.bias_cell)
        return h, (h, c)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        i, f, o, _ = self._opened(input_RBI, state[0])
        return {"input": i, "forget": f, "output": o}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """i, f, o and a_g."""
        xU = torch.bmm(*at_least_two(input_RBI, self.weight_input))
        a = layer_norm(xU, self.gain_input, self.epsilon) + self.bias
        a = a + layer_norm(torch.bmm(h, self.weight_recurrent), self.gain_recurrent, self.epsilon)
        gates, a_g = a.split((3 * self.hidden, self.hidden), dim=-1)
        return *torch.sigmoid(gates).chunk(3, dim=-1), a_g
