"""Layers on fixed time scales, each slower than the one below (El Hihi & Bengio 1996)."""

import torch
from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes, layers_of
from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Cell
from rnnlab.contract import Repeats, component
from rnnlab.plan import Plan, Refusal


@component
class Hierarchical(Architecture):
    """h^k_t = cell_k(h^{k-1}_t, h^k_{t-d_k}) at the ticks of layer k, d_k = every^(k-1), h^0 = x; held in between.

    k = 1, ..., layers; the readout sees [h^1_t; ...; h^layers_t]. Steps are counted from the end: the last one is a
    tick of every layer, and a tick of layer k comes d_k steps before the next. From t to the end lead about
    (T - t) / d_k steps in layer k, so its adjoint falls per step of the sequence with the slope of a plain net divided
    by d_k. That is its price too: what layer k is to know, layer k-1 must have kept until the tick.

    The paper connects units of different delays and time scales in more ways than one. This is the form that can be
    unrolled layer by layer, with adjoints and kernels of a plain cell: fast layers feed slow ones, and slow ones reach
    the prediction through the readout, not through fast ones. Where slow units feed fast ones see the clockwork net.

    Adjoint rules and dropout count the steps that a layer takes. In records and diagnoses a state that is held has, as
    long as it is held, the adjoint of the step that made it.

    Args:
        layers: how many.
        every: by which the scale grows from layer to layer; 1: stacked layers, of which the readout sees all.
    """

    layers: Repeats
    every: Repeats

    def why_not(self, plan: Plan) -> Refusal:
        slowest = self.every ** (self.layers - 1)
        if slowest >= plan.task.steps:
            return {
                "layers": f"The slowest layer would step every {slowest} steps, once in the {plan.task.steps} there are"
            }
        return None

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        return layers_of(cell, sizes.inputs, self.layers)

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        seen: list[Tensor] = []
        for k in range(1, self.layers + 1):
            name, last = f"layer{k}", passage.last if k == self.layers else None
            every = self.every ** (k - 1)
            input_TRBI = passage(name, parts[name], input_TRBI, every=every, last=last).output_KRBH
            seen.append(input_TRBI)
        K = len(input_TRBI)
        return torch.cat([output[-K:] for output in seen], dim=-1)

    def steps_of(self, cells: int, steps: int) -> list[int]:
        return [(steps - 1) // self.every**k + 1 for k in range(cells)]

    def width(self, parts: Parts) -> int:
        return sum(part.width for part in parts.values() if isinstance(part, Cell))
