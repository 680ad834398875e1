"""The Elman net (Elman 1990)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, checked


class RNN(Cell):
    """h_t = phi(x_t U + h_{t-1} W + b).

    Args:
        hidden: H.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(self, *, hidden: Count, activation: ActivationFactory, replicas: Count, inputs: Count) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        h = self.activation(self.preactivation(input_RBI, h))
        return h, (h,)
