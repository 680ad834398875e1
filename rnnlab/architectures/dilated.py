"""Layers that look back by growing steps: the dilated recurrent net (Chang et al. 2017)."""

import torch
from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes, layers_of
from rnnlab.architectures.dense import Dense
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Count, Repeats, component
from rnnlab.plan import Plan, Refusal

FUSE = "fuse"
"""The part that joins neighbouring steps of the last layer."""


@component
class Dilated(Architecture):
    """h^k_t = cell_k(h^{k-1}_t, h^k_{t-d_k}),  d_k = first base^(k-1), k = 1, ..., layers, h^0 = x.

    From t to T lead about (T - t) / d_L steps in time and one per layer, so a layer's adjoint falls with the slope of a
    plain net divided by d_k. Where even the first layer skips steps (first > 1), the last layer's outputs at the
    `first` steps up to t are joined by y_t = sum_j h^L_{t-j} V_j + c, a dilated 1x1 convolution in the paper: else a
    step would only hear of every first-th one. Adjoint rules and dropout count the steps that a layer takes: those d_k
    apart are neighbours.

    Args:
        layers: how many, L. The paper has 9 for 784 steps.
        base: by which the dilation grows from layer to layer. The paper has 2.
        first: dilation of the first layer.
    """

    layers: Repeats
    base: Repeats
    first: Count

    def why_not(self, plan: Plan) -> Refusal:
        furthest = self.first * self.base ** (self.layers - 1)
        if furthest >= plan.task.steps:
            far = f"first base^(layers-1) = {furthest}"
            return {"layers": f"The last layer would look {far} steps back; {plan.task.steps} is all there are"}
        return None

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        made = layers_of(cell, sizes.inputs, self.layers)
        if self.first > 1:
            width = self.width(made)
            made[FUSE] = Dense(replicas=sizes.replicas, inputs=self.first * width, outputs=width)
        return made

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        for k in range(1, self.layers + 1):
            dilation = self.first * self.base ** (k - 1)
            last = passage.last if k == self.layers and self.first == 1 else None
            name = f"layer{k}"
            input_TRBI = passage(name, parts[name], input_TRBI, dilation=dilation, last=last).output_KRBH
        return parts[FUSE](_neighbours(input_TRBI, self.first)) if self.first > 1 else input_TRBI


def _neighbours(value_TRBH: Tensor, count: int) -> Tensor:
    """(T, R, B, count H): every step with those before it side by side, zeros before the first."""
    T, R, B, H = value_TRBH.shape
    before = value_TRBH.new_zeros(count - 1, R, B, H)
    return torch.cat([before, value_TRBH]).unfold(0, count, 1).transpose(-1, -2).reshape(T, R, B, count * H)
