"""The continuous-time net in steps of Euler's method: leaky units (Funahashi & Nakamura 1993; Jaeger et al. 2007)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, PositiveShare, checked


class LeakyRNN(Cell):
    """h_t = (1 - alpha) h_{t-1} + alpha phi(x_t U + h_{t-1} W + b).

    That is tau dh/dt = -h + phi(x U + h W + b) in steps of alpha tau. With alpha = 1 it is the Elman net.

    Args:
        hidden: H.
        alpha: step over time constant, above 0 and at most 1.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(
        self, *, hidden: Count, alpha: PositiveShare, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.alpha = alpha
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        h = torch.lerp(h, self.activation(self.preactivation(input_RBI, h)), self.alpha)
        return h, (h,)
