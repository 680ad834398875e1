"""The Elman net with multiplicative integration, MI-RNN (Wu, Zhang, Zhang, Bengio & Salakhutdinov 2016)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.cells.affine import at_least_two
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, checked


class MultiplicativeIntegrationRNN(Cell):
    """h_t = phi(alpha (x_t U) (h_{t-1} W) + beta1 (h_{t-1} W) + beta2 (x_t U) + b), element by element.

    The product is that of a second-order net whose weights W_ijk = alpha_i W_ij U_ik have rank one for each unit i.
    With alpha = 0 and both beta = 1 it is the Elman net. alpha, beta1 and beta2 are learnt, one of each per unit; the
    keys say where they start.

    Args:
        hidden: H.
        alpha, beta1, beta2: initial values, of all units.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        alpha: Finite,
        beta1: Finite,
        beta2: Finite,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.alpha, self.beta1, self.beta2 = alpha, beta1, beta2
        self.gain_product = nn.Parameter(torch.full((replicas, 1, hidden), alpha))
        self.gain_recurrent = nn.Parameter(torch.full((replicas, 1, hidden), beta1))
        self.gain_input = nn.Parameter(torch.full((replicas, 1, hidden), beta2))
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        xU, hW = torch.bmm(*at_least_two(input_RBI, self.weight_input)), torch.bmm(h, self.weight_recurrent)
        # Of h W there are two terms, of which one factor is the same: (alpha x U + beta1) (h W).
        a = torch.addcmul(self.bias, self.gain_input, xU)
        h = self.activation(torch.addcmul(a, torch.addcmul(self.gain_recurrent, self.gain_product, xU), hW))
        return h, (h,)
