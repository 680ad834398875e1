"""coRNN: coupled oscillators, driven and damped (Rusch & Mishra 2021)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, NonNegative, Positive, checked


class CoRNN(Cell):
    """z_t = z_{t-1} + dt (phi(x_t U + h_{t-1} W + z_{t-1} V + b) - gamma h_{t-1} - epsilon z),  h_t = h_{t-1} + dt z_t.

    h are the positions of H oscillators, z their velocities. The damped z is z_{t-1}, or z_t where implicit.

    Args:
        hidden: H.
        dt: step size.
        gamma: square of the frequency.
        epsilon: damping.
        implicit: whether damping is taken at the end of the step, which is stable for every epsilon.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("position", "velocity")
    states: ClassVar[tuple[str, ...]] = ("h", "z")

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        dt: Positive,
        gamma: NonNegative,
        epsilon: NonNegative,
        implicit: bool,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=("force",))
        self.dt, self.gamma, self.epsilon, self.implicit = dt, gamma, epsilon, implicit
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        h, z = state
        W, V = self.weight_recurrent.chunk(2, dim=-1)
        a = self.from_input(input_RBI)
        force = self.activation(torch.baddbmm(torch.baddbmm(a, h, W), z, V)) - self.gamma * h
        if self.implicit:
            z = (z + self.dt * force) / (1 + self.dt * self.epsilon)
        else:
            z = z + self.dt * (force - self.epsilon * z)
        h = h + self.dt * z
        return h, (h, z)
