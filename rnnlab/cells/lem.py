"""Long expressive memory: two time scales that the net chooses itself (Rusch, Mishra, Erichson & Mahoney 2022)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, PositiveShare, checked


class LEM(Cell):
    """z_t = (1 - s_z) z_{t-1} + s_z phi(x_t U_z + h_{t-1} W_z + b_z),
    h_t = (1 - s_h) h_{t-1} + s_h phi(x_t U_h + z_t W_h + b_h),  s_z, s_h = dt sigmoid(x_t U + h_{t-1} W + b).

    Each of the steps s_z and s_h has weights of its own. h is called y in the paper.

    Args:
        hidden: H.
        dt: the largest step, above 0 and at most 1.
        activation: makes phi, once for z and once for h.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("step_z", "step_h", "z", "h")
    states: ClassVar[tuple[str, ...]] = ("h", "z")

    @checked
    def __init__(
        self, *, hidden: Count, dt: PositiveShare, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.dt = dt
        self.z_activation = activation()
        self.h_activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        h, z = state
        s_z, s_h, a_z, a_h = self._opened(input_RBI, h)
        z = torch.lerp(z, self.z_activation(a_z), self.dt * s_z)
        a_h = torch.baddbmm(a_h, z, self.block(self.weight_recurrent, "h"))
        h = torch.lerp(h, self.h_activation(a_h), self.dt * s_h)
        return h, (h, z)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        s_z, s_h, _, _ = self._opened(input_RBI, state[0])
        return {"step_z": s_z, "step_h": s_h}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": 1 - self.dt * gates["step_h"], "z": 1 - self.dt * gates["step_z"]}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """The sigmoids of s_z and s_h, a_z, and a_h without its recurrent part."""
        H = self.hidden
        a = self.from_input(input_RBI)
        a_s, a_z = torch.baddbmm(a[..., : 3 * H], h, self.weight_recurrent[..., : 3 * H]).split((2 * H, H), dim=-1)
        return *sigmoid(a_s).chunk(2, dim=-1), a_z, a[..., 3 * H :]
