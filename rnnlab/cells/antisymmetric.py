"""The antisymmetric net: a stable differential equation in small steps (Chang, Chen, Haber & Chi 2019)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, NonNegative, Positive, checked


class AntisymmetricRNN(Cell):
    """h_t = h_{t-1} + epsilon z phi(x_t U + h_{t-1} A + b),  A = W - W^T - gamma I, with z = 1.

    Where gated, z = sigmoid(x_t U_z + h_{t-1} A + b_z), with the same A. All eigenvalues of A have the real part
    -gamma, so those of the differential equation's Jacobian have none above 0 where phi' >= 0; steps of Euler's method
    add to their modulus, which gamma > 0 makes up for.

    Args:
        hidden: H.
        epsilon: step size.
        gamma: diffusion.
        gated: whether there is the gate z.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    states: ClassVar[tuple[str, ...]] = ("h",)
    multiplies: ClassVar[bool] = False

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        epsilon: Positive,
        gamma: NonNegative,
        gated: bool,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        input_blocks = ("hidden", "gate") if gated else self.blocks
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=input_blocks)
        self.epsilon, self.gamma = epsilon, gamma
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        a, *a_z = self._preactivations(input_RBI, h)
        change = self.activation(a) * sigmoid(a_z[0]) if a_z else self.activation(a)
        h = h + self.epsilon * change
        return h, (h,)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        _, *a_z = self._preactivations(input_RBI, state[0])
        return {"gate": sigmoid(a_z[0])} if a_z else {}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": torch.ones_like(gates["gate"])} if gates else {}

    def _preactivations(self, input_RBI: Tensor, h: Tensor) -> list[Tensor]:
        """Of phi and, where gated, of z."""
        W = self.weight_recurrent
        hA = torch.bmm(h, W - W.mT) - self.gamma * h
        a = self.from_input(input_RBI)
        return [part + hA for part in a.split(self.hidden, dim=-1)]
