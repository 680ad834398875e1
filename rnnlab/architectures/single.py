"""One cell."""

from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.bptt.passage import ONLY, Passage
from rnnlab.contract import component


@component
class Single(Architecture):
    """The readout sees the outputs of one cell that reads the input."""

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        return {ONLY: cell(sizes.inputs)}

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        return passage(ONLY, parts[ONLY], input_TRBI, last=passage.last).output_KRBH
