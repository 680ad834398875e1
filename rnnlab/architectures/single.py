"""One cell."""

from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts
from rnnlab.bptt.passage import ONLY, Passage
from rnnlab.contract import component


@component
class Single(Architecture):
    """The readout sees the outputs of one cell that reads the input."""

    def parts(self, cell: MakeCell, inputs: int) -> dict[str, nn.Module]:
        return {ONLY: cell(inputs)}

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        return passage(ONLY, parts[ONLY], input_TRBI, last=passage.last).output_KRBH
