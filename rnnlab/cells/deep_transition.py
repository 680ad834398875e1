"""The net with a deep transition, with and without a shortcut (Pascanu, Gulcehre, Cho & Bengio 2014)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Repeats, checked
from rnnlab.plan import Plan, Refusal


class DeepTransition(Cell):
    """z_1 = phi(x_t U + h_{t-1} W_1 + b_1),  z_i = phi(z_{i-1} W_i + b_i), i = 2, ..., k,  h_t = z_k.

    With the shortcut, z_k = phi(z_{k-1} W_k + h_{t-1} V + b_k). A gradient crosses k products and slopes in a time
    step, so over T steps k T of them: it vanishes, or explodes, as much faster. The shortcut leaves it a way of length
    T. With k = 1 it is the Elman net. It is a cell, not an architecture: all layers lie within one step, and adjoints
    are those of h. W_1, ..., W_k and V are recurrent weights, blocks that are drawn and parametrised alike; b_2, ...,
    b_k start at zero.

    Args:
        hidden: H, of every layer.
        depth: k.
        shortcut: whether h_{t-1} reaches the last layer directly; of at least two layers.
        activation: makes phi, once per layer.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("transition1",)  # an instance has its own
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        depth: Repeats,
        shortcut: bool,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        self.depth, self.shortcut = depth, shortcut
        layers = [f"transition{i}" for i in range(1, depth + 1)]
        self.__dict__.update(blocks=(*layers, "shortcut") if shortcut else tuple(layers))
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=("transition1",))
        for i in range(1, depth + 1):
            self.add_module(f"activation{i}", activation())
        if depth > 1:
            self.bias_transition = nn.Parameter(torch.zeros(replicas, 1, (depth - 1) * hidden))

    def why_not(self, plan: Plan) -> Refusal:
        if self.shortcut and self.depth == 1:
            return {"shortcut": "It skips the layers before the last, and there is one; allowed: false"}
        return None

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        first, *deeper = self.weight_recurrent.split(self.hidden, dim=-1)
        a = torch.baddbmm(self.from_input(input_RBI), h, first)
        biases = self.bias_transition.split(self.hidden, dim=-1) if self.depth > 1 else ()
        for i, bias in enumerate(biases, start=1):
            a = torch.baddbmm(bias, self._activated(i, a), deeper[i - 1])
        if self.shortcut:
            a = torch.baddbmm(a, h, deeper[-1])
        h = self._activated(self.depth, a)
        return h, (h,)

    def _activated(self, layer: int, a_RBH: Tensor) -> Tensor:
        return self.get_submodule(f"activation{layer}")(a_RBH)
