"""The diagonal bidirectional LSTM of PixelRNN (van den Oord, Kalchbrenner & Kavukcuoglu 2016).

Y rows, X columns, S = Y + X - 1 diagonals.
"""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from rnnlab.architectures.architecture import Parts
from rnnlab.architectures.pixel_rnn import PixelRNN, called
from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Grid
from rnnlab.contract import component


@component
class DiagonalBiLSTM(PixelRNN):
    """l_{y,x} = cell(features, l_{y,x-1}, l_{y-1,x}),  r_{y,x} = cell'(features, r_{y,x+1}, r_{y-1,x}), h_{y,x} =
    l_{y,x} + r_{y-1,x}: every pixel sees all before it.

    Time goes along the diagonals: row y is shifted by y places, and a recurrent kernel of two places of a column leads
    to the next. The right map is added a row further down, or a pixel would see those after it in its row. A path from
    corner to corner has Y + X steps, where a sequence of pixels has Y X.

    An empty column stands after the image: the last pixel of a row is no feature of any place but in the window, and
    the next row would not see it (as in the paper, as it reads). Every layer ends in a 1x1 convolution back to 2 H
    features; of the paper's two hidden layers before the readout there are none.
    """

    kernels: ClassVar[dict[str, int]] = {"kernel_input": 1, "kernel_state": 2}
    cells: ClassVar[tuple[str, ...]] = ("left", "right")

    def grid(self, rows: int, columns: int) -> Grid:
        return rows, 1

    def rows(self, parts: Parts, steps: int) -> int:
        return parts["left1"].grid[0]

    def framed(self, image_YXRBI: Tensor) -> Tensor:
        return functional.pad(image_YXRBI, (0, 0, 0, 0, 0, 0, 0, 1))

    def layer(self, k: int, parts: Parts, features_YXRBF: Tensor, passage: Passage) -> Tensor:
        left = unskewed(called(f"left{k}", parts, skewed(features_YXRBF), passage))
        right = unskewed(called(f"right{k}", parts, skewed(features_YXRBF.flip(1)), passage)).flip(1)
        return left + functional.pad(right[:-1], (0, 0, 0, 0, 0, 0, 0, 0, 1, 0))


def skewed(value_YXRBF: Tensor) -> Tensor:
    """(S, Y, ...): step s holds x = s - y of every row y, and 0 where that is outside."""
    Y, X = value_YXRBF.shape[:2]
    wide = functional.pad(value_YXRBF, (0, 0, 0, 0, 0, 0, 0, Y)).flatten(0, 1)
    return wide[: Y * (X + Y - 1)].unflatten(0, (Y, -1)).transpose(0, 1)


def unskewed(value_SYRBF: Tensor) -> Tensor:
    """(Y, X, ...): the inverse."""
    S, Y = value_SYRBF.shape[:2]
    wide = functional.pad(value_SYRBF.transpose(0, 1).flatten(0, 1), (0, 0, 0, 0, 0, 0, 0, Y))
    return wide.unflatten(0, (Y, S + 1))[:, : S + 1 - Y]
