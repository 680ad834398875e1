"""Layers of cells, each reading the outputs of the one below (Schmidhuber 1992; El Hihi & Bengio 1996)."""

from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Repeats, component


@component
class Stacked(Architecture):
    """h^1_t = cell(x_t, h^1_{t-1}),  h^k_t = cell(h^{k-1}_t, h^k_{t-1}), k = 2, ..., layers; the readout sees the last.

    Every layer has parameters and adjoints of its own. As torch.nn's `num_layers`.

    Args:
        layers: how many cells.
    """

    layers: Repeats

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        first = cell(sizes.inputs)
        above = {f"layer{k}": cell(first.width) for k in range(2, self.layers + 1)}
        return {"layer1": first, **above}

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        for k in range(1, self.layers + 1):
            last = passage.last if k == self.layers else None
            input_TRBI = passage(f"layer{k}", parts[f"layer{k}"], input_TRBI, last=last).output_KRBH
        return input_TRBI
