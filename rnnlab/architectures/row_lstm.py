"""The row LSTM of PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu 2016)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.architectures.architecture import Parts
from rnnlab.architectures.pixel_rnn import PixelRNN, called
from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Grid
from rnnlab.contract import component


@component
class RowLSTM(PixelRNN):
    """h_y = cell(features of row y, h_{y-1}): time goes down the rows, a convolution along them leads to the next.

    With recurrent kernels of k places a pixel sees the triangle above it that widens by (k - 1) / 2 and `reach` per
    row, not the rest. Of its own row a layer reads the place and the one before, the paper's kernel of 3 with mask B.
    The pixels of a row are told at once, so a path through an image has Y steps. Every layer ends in a 1x1 convolution
    back to 2 H features; of the paper's two hidden layers before the readout there are none.
    """

    kernels: ClassVar[dict[str, int]] = {"kernel_input": 2}
    cells: ClassVar[tuple[str, ...]] = ("row",)

    def grid(self, rows: int, columns: int) -> Grid:
        return 1, columns

    def rows(self, parts: Parts, steps: int) -> int:
        return steps // parts["row1"].grid[1]

    def layer(self, k: int, parts: Parts, features_YXRBF: Tensor, passage: Passage) -> Tensor:
        return called(f"row{k}", parts, features_YXRBF, passage)
