"""The gated recurrent unit with layer normalisation (Ba, Kiros & Hinton 2016)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.affine import at_least_two
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.cells.layer_norm import layer_norm, single_input
from rnnlab.contract import Count, Positive, checked
from rnnlab.plan import Plan


class LayerNormGRU(Cell):
    """n_t = phi(LN(x_t U_n) + b_n + r (LN(h_{t-1} W_n) + b_m)),  h_t = (1 - z) n_t + z h_{t-1}.

    r, z = sigmoid(LN(x_t U) + LN(h_{t-1} W) + b). LN(a) = g (a - mean) / sqrt(variance + epsilon), over the two gates
    together and over the candidate, each with a gain g of its own that starts at 1. Scaling the input weights, or the
    recurrent ones, changes nothing (but for epsilon). b_m starts at zero. (In the paper 1 - z stands for z.)

    Of a single input (I = 1) LN(x_t U) keeps the sign alone: the value of x_t is lost.

    Args:
        hidden: H, at least 2.
        epsilon: added to the variance.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("reset", "update", "candidate")
    least: ClassVar[int] = 2  # one unit, normalised, is 0
    states: ClassVar[tuple[str, ...]] = ("h",)
    carried: ClassVar[dict[str, str]] = {"h": "update"}

    @checked
    def __init__(
        self, *, hidden: Count, epsilon: Positive, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.epsilon = epsilon
        self.gain_input = nn.Parameter(torch.ones(replicas, 1, 3 * hidden))
        self.gain_recurrent = nn.Parameter(torch.ones(replicas, 1, 3 * hidden))
        self.bias_candidate_recurrent = nn.Parameter(torch.zeros(replicas, 1, hidden))
        self.activation = activation()

    def remark(self, plan: Plan) -> str | None:
        return single_input(self, plan)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        r, z, a_n, u_n = self._opened(input_RBI, h)
        n = self.activation(torch.addcmul(a_n, r, u_n + self.bias_candidate_recurrent))
        h = torch.lerp(n, h, z)
        return h, (h,)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        r, z, _, _ = self._opened(input_RBI, state[0])
        return {"reset": r, "update": z}

    def _opened(self, input_RBI: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """r, z, and the candidate's preactivation in its two parts, of x_t and of h_{t-1}."""
        a_rz, a_n = self._normalised(torch.bmm(*at_least_two(input_RBI, self.weight_input)), self.gain_input)
        u_rz, u_n = self._normalised(torch.bmm(h, self.weight_recurrent), self.gain_recurrent)
        b_rz, b_n = self._parts(self.bias)
        return *sigmoid(a_rz + u_rz + b_rz).chunk(2, dim=-1), a_n + b_n, u_n

    def _normalised(self, a: Tensor, gain: Tensor) -> list[Tensor]:
        parts = zip(self._parts(a), self._parts(gain), strict=True)
        return [layer_norm(part, its_gain, self.epsilon) for part, its_gain in parts]

    def _parts(self, a: Tensor) -> tuple[Tensor, ...]:
        """The two gates, and the candidate."""
        return a.split((2 * self.hidden, self.hidden), dim=-1)
