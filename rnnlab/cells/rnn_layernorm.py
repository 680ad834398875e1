"""The Elman net with layer normalisation (Ba, Kiros & Hinton 2016)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.cells.affine import at_least_two
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.cells.layer_norm import layer_norm
from rnnlab.contract import Count, Positive, checked


class LayerNormRNN(Cell):
    """h_t = phi(LN(x_t U + h_{t-1} W) + b),  LN(a) = g (a - mean) / sqrt(variance + epsilon) over the H units.

    Scaling U and W together changes nothing (but for epsilon). The gain g starts at 1.

    Args:
        hidden: H, at least 2.
        epsilon: added to the variance.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    least: ClassVar[int] = 2  # one unit, normalised, is 0
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(
        self, *, hidden: Count, epsilon: Positive, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.epsilon = epsilon
        self.gain = nn.Parameter(torch.ones(replicas, 1, hidden))
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        a = torch.baddbmm(torch.bmm(*at_least_two(input_RBI, self.weight_input)), h, self.weight_recurrent)
        h = self.activation(layer_norm(a, self.gain, self.epsilon) + self.bias)
        return h, (h,)
