"""The gated recurrent unit (Cho et al. 2014), in the form of torch.nn.GRU (reset gate after the product)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, checked


class GRU(Cell):
    """n_t = phi(x_t U_n + b_n + r (h_{t-1} W_n + b_m)),  h_t = (1 - z) n_t + z h_{t-1}, gates r, z sigmoids.

    b_m, the bias inside the reset gate's product, starts at zero.

    Args:
        hidden: H.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("reset", "update", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h",)
    carried: ClassVar[dict[str, str]] = {"h": "update"}

    @checked
    def __init__(self, *, hidden: Count, activation: ActivationFactory, replicas: Count, inputs: Count) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.bias_candidate_recurrent = nn.Parameter(torch.zeros(replicas, 1, hidden))
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        r, z, a_n, u_n = self._opened(input_RBI, h)
        m = u_n + self.bias_candidate_recurrent
        n = self.activation(torch.addcmul(a_n, r, m))
        h = torch.lerp(n, h, z)
        return h, (h,)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        r, z, _, _ = self._opened(input_RBI, state[0])
        return {"reset": r, "update": z}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """r, z, and the candidate's preactivation in its two parts, x_t U_n + b_n and h_{t-1} W_n."""
        H = self.hidden
        a = self.from_input(input_RBI)
        u = torch.bmm(h, self.weight_recurrent)
        return *torch.sigmoid((a + u)[..., : 2 * H]).chunk(2, dim=-1), a[..., 2 * H :], u[..., 2 * H :]
