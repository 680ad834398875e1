"""The second-order net: inputs choose among recurrent matrices (Giles, Miller, Chen, Chen, Sun & Lee 1992)."""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, checked


class SecondOrderRNN(Cell):
    """h_t = phi(sum_k x_tk (h_{t-1} W_k) + x_t U + b), with a recurrent matrix W_k for each input k.

    In the paper's indices S_i(t+1) = phi(sum_jk W_ijk S_j(t) x_k(t) + b_i). Where x is one-hot, each symbol has a
    matrix of its own: with phi = identity, U = 0, b = 0 and the transition matrices of a finite automaton as W_k, a
    one-hot state stays one-hot, and is the automaton's at any length. The paper has no U, but a first unit that starts
    at 1; here all states start at 0, where without U the first input would leave no trace.

    An initialiser draws each W_k by itself, a square block.

    Args:
        hidden: H.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input0",)
    """One for each input: the instance's."""
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(self, *, hidden: Count, activation: ActivationFactory, replicas: Count, inputs: Count) -> None:
        blocks = tuple(f"input{k}" for k in range(inputs))
        # Of one input, both weights are as wide, and a parameter's width has to tell its blocks.
        input_blocks = blocks if inputs == 1 else ("hidden",)
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=input_blocks, blocks=blocks)
        self.activation = activation()

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        # Row j of the blocks side by side holds W_0j, W_1j, ...: the same memory as rows (j, k) of H numbers each.
        weight_RPH = self.weight_recurrent.reshape(len(h), -1, self.hidden)
        pairs_RBP = (h.unsqueeze(-1) * input_RBI.unsqueeze(-2)).flatten(2)
        a = self.from_input(input_RBI)
        h = self.activation(torch.baddbmm(a, pairs_RBP, weight_RPH))
        return h, (h,)
