"""Layers of cells that read (Schmidhuber 1992; El Hihi & Bengio 1996), or add to, the one below (He et al. 2016)."""

from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes, layers_of
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Repeats, component
from rnnlab.plan import Plan, Refusal


@component
class Stacked(Architecture):
    """h^1_t = cell(x_t, h^1_{t-1}),  h^k_t = cell(h^{k-1}_t, h^k_{t-1}), k = 2, ..., layers; the readout sees the last.

    Every layer has parameters and adjoints of its own. As torch.nn's `num_layers`.

    With `residual`, what layer k >= 2 puts out is added to what it reads: y^1_t = h^1_t, y^k_t = y^{k-1}_t + h^k_t with
    h^k_t = cell(y^{k-1}_t, h^k_{t-1}), and the readout sees y^layers. So a gradient goes down through the layers whole,
    as in Wu et al. 2016 (who begin at a later layer); through time it goes as before. The first layer has none: what
    it reads has another width. What a layer reads is dropped, where there is dropout, and what is added is not.

    Args:
        layers: how many cells.
        residual: whether they are so added; of at least two layers.
    """

    layers: Repeats
    residual: bool

    def why_not(self, plan: Plan) -> Refusal:
        if self.residual and self.layers == 1:
            return {"residual": "It adds a layer's output to that of the layer below, and there is one; allowed: false"}
        return None

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        return layers_of(cell, sizes.inputs, self.layers)

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        for k in range(1, self.layers + 1):
            last = passage.last if k == self.layers else None
            output_KRBH = passage(f"layer{k}", parts[f"layer{k}"], input_TRBI, last=last).output_KRBH
            if self.residual and k > 1:
                output_KRBH = input_TRBI[-len(output_KRBH) :] + output_KRBH
            input_TRBI = output_KRBH
        return input_TRBI
