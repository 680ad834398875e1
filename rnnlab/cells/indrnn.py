"""The independently recurrent net: each unit remembers by itself (Li et al. 2018)."""

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, checked


class IndRNN(Cell):
    """h_t = phi(x_t U + w h_{t-1} + b), one recurrent weight w per unit: element by element, no matrix.

    With phi = identity a unit's memory of x decays as w^t; a long task asks for w near 1. Initialisers of recurrent
    weights have nothing to draw: w is drawn from U(recurrent_low, recurrent_high).

    Args:
        hidden: H.
        recurrent_low, recurrent_high: the range of the initial w. (Within (1/2)^(1/T) and 2^(1/T), T steps change
            what is remembered by no more than a factor of two.)
        activation: makes phi; the paper's is relu.
        replicas, inputs: R, I.
    Raises:
        ValueError: recurrent_low is not below recurrent_high.
    """

    blocks: ClassVar[tuple[str, ...]] = ()
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        recurrent_low: Finite,
        recurrent_high: Finite,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        if recurrent_low >= recurrent_high:
            raise ValueError(f"recurrent_low={recurrent_low} must be below recurrent_high={recurrent_high}")
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=("hidden",))
        self.recurrent_low, self.recurrent_high = recurrent_low, recurrent_high
        self.weight_recurrent = nn.Parameter(torch.zeros(replicas, 1, hidden))
        self.activation = activation()

    def initialise(self, replica: int, generator: Generator) -> None:
        """Draw one replica's w."""
        nn.init.uniform_(self.weight_recurrent[replica], self.recurrent_low, self.recurrent_high, generator=generator)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        a = self.from_input(input_RBI)
        h = self.activation(torch.addcmul(a, h, self.weight_recurrent))
        return h, (h,)
