"""The sequential cascaded net: one net sets the weights of another (Pollack 1991)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, checked


class CascadedRNN(Cell):
    """w_ij(t) = sum_k W_ijk h_k(t-1) + U_ij,  h_t = phi(w(t) [x_t; 1]).

    A linear context net reads the state and sets the weights w of a function net, which reads the input. Its weights
    from input k are the block `inputk` and U's row k; those from the 1 are the block `bias`, here called V, and b:

    h_t = phi(sum_k x_tk (h_{t-1} W_k + U_k) + h_{t-1} V + b).

    So it is a second-order net of [h; 1] and [x; 1], and with all W_k = 0 the Elman net. The paper takes the error one
    step back; here it takes every step, unless `adjoint=truncate adjoint.every=1` is chosen.

    An initialiser draws V and each W_k by themselves, square blocks.

    Args:
        hidden: H.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("bias", "input0")
    """One for the function net's bias and one for each of its inputs: the instance's."""
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(self, *, hidden: Count, activation: ActivationFactory, replicas: Count, inputs: Count) -> None:
        blocks = ("bias", *(f"input{k}" for k in range(inputs)))
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=("hidden",), blocks=blocks)
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        bias_RBH, weight_RBIH = self.function_net(h)
        h = self.activation(bias_RBH + (input_RBI.unsqueeze(-1) * weight_RBIH).sum(2))
        return h, (h,)

    def function_net(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What the context net makes of a state: the function net's biases (R, B, H) and weights (R, B, I, H)."""
        start_R1G = torch.cat([self.bias, self.weight_input.flatten(1).unsqueeze(1)], dim=-1)
        emitted_RBG = torch.baddbmm(start_R1G, h, self.weight_recurrent)
        emitted_RBJH = emitted_RBG.unflatten(-1, (1 + self.inputs, self.hidden))
        return emitted_RBJH[:, :, 0], emitted_RBJH[:, :, 1:]
