"""What the recurrent nets over pixels share (van den Oord, Kalchbrenner & Kavukcuoglu 2016).

Y rows, X columns, T = Y X, R replica, B batch, I input, F features, H hidden.
"""

from abc import abstractmethod
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.architectures.dense import Dense
from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Grid
from rnnlab.contract import ConfigError, Repeats, fields
from rnnlab.plan import Plan, Refusal

WINDOW = "window"
"""The part that reads pixels; all others read features."""


@fields
class PixelRNN(Architecture):
    """Layers over an image of which each place sees the pixels before it, row by row; input t is pixel t - 1.

    The first part reads the pixels before a place within a window: that is the paper's convolution with mask A, whose
    masked weights do not exist here. It leaves F = 2 H features per place. What later parts read of a place is made of
    pixels before it, so that they may read the place itself, as with mask B.

    Args:
        layers: how many.
        reach: of the window, in pixels, at most 1,000: rows above, and columns left and right. The paper's 7x7 reach 3.
        residual: whether a layer's features are added to those that it reads.
    """

    layers: Repeats
    reach: Repeats
    residual: bool

    cells: ClassVar[tuple[str, ...]]
    """Names of a layer's cells, without its number."""
    kernels: ClassVar[dict[str, int]] = {}
    """Of the cell, in places: what may be read follows from them."""

    def why_not(self, plan: Plan) -> Refusal:
        if not plan.cell.convolves:
            return f"Its cell stands at all pixels of a row at once; {plan.chosen('cell')} cannot, cell=conv_lstm can"
        if plan.cell.padding != "zeros":
            return "On a circle a pixel would see those that are to be told; it goes with cell.padding=zeros"
        task, image = plan.task, getattr(plan.task, "image", None)
        channels, rows, columns = image or (0, 0, 0)
        by_pixel = (task.inputs, task.steps, task.scored) == (channels, rows * columns, rows * columns)
        if not by_pixel or min(rows, columns) < 2:
            return f"It tells every pixel of an image from those before it; {plan.chosen('task')} asks for nothing such"
        return None

    def overrides(self, plan: Plan) -> dict[str, float]:
        return {f"cell.{kernel}": places for kernel, places in self.kernels.items()}

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        if sizes.image is None:
            raise ConfigError("architecture: not allowed. It is for tasks with images.")
        _, rows, columns = sizes.image
        R, F = sizes.replicas, 2 * sizes.hidden
        pixels = 2 * self.reach * (self.reach + 1)
        made: dict[str, nn.Module] = {WINDOW: Dense(replicas=R, inputs=pixels * sizes.inputs, outputs=F)}
        for k in range(1, self.layers + 1):
            grid = self.grid(rows, columns)
            made |= {f"{name}{k}": cell(F * prod(grid), grid=grid, **self.kernels) for name in self.cells}
            made[f"up{k}"] = Dense(replicas=R, inputs=sizes.hidden, outputs=F)
        return made

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        T, R, B, I = input_TRBI.shape
        # Pixel t is input t + 1. Of the last nobody is to know anything.
        pixels_TRBI = functional.pad(input_TRBI[1:], (0, 0, 0, 0, 0, 0, 0, 1))
        image_YXRBI = pixels_TRBI.view(self.rows(parts, T), -1, R, B, I)
        features = everywhere(parts[WINDOW], pixels_before(self.framed(image_YXRBI), self.reach))
        for k in range(1, self.layers + 1):
            more = everywhere(parts[f"up{k}"], self.layer(k, parts, features, passage))
            features = features + more if self.residual else more
        return features[:, : image_YXRBI.shape[1]].flatten(0, 1)

    def width(self, parts: Parts) -> int:
        return parts[WINDOW].weight.shape[-1]

    @abstractmethod
    def grid(self, rows: int, columns: int) -> Grid:
        """The places of a cell on an image."""
        raise NotImplementedError

    @abstractmethod
    def rows(self, parts: Parts, steps: int) -> int:
        """Y, of an image of so many pixels."""
        raise NotImplementedError

    @abstractmethod
    def layer(self, k: int, parts: Parts, features_YXRBF: Tensor, passage: Passage) -> Tensor:
        """(Y, X, R, B, H): what the k-th layer's cells put out at every place."""
        raise NotImplementedError

    def framed(self, image_YXRBI: Tensor) -> Tensor:
        """The image, with what it takes of empty columns after it."""
        return image_YXRBI


def pixels_before(image_YXRBI: Tensor, reach: int) -> Tensor:
    """(Y, X, R, B, N I): those up to `reach` rows above, and to the left in the same row, side by side; 0 outside."""
    Y, X = image_YXRBI.shape[:2]
    framed = functional.pad(image_YXRBI, (0, 0, 0, 0, 0, 0, reach, reach, reach, 0))
    above = [(up, across) for up in range(reach, 0, -1) for across in range(-reach, reach + 1)]
    places = [*above, *((0, across) for across in range(-reach, 0))]
    return torch.cat([framed[reach - up :, reach + x :][:Y, :X] for up, x in places], dim=-1)


def everywhere(part: Dense, value_YXRBF: Tensor) -> Tensor:
    """A layer without recurrence at every place: a 1x1 convolution."""
    return part(value_YXRBF.flatten(0, 1)).unflatten(0, value_YXRBF.shape[:2])


def called(name: str, parts: Parts, value_SPRBF: Tensor, passage: Passage) -> Tensor:
    """(S, P, R, B, H): a cell over S steps, at P places in each."""
    S, P, R, B, F = value_SPRBF.shape
    images_SRBI = value_SPRBF.permute(0, 2, 3, 4, 1).reshape(S, R, B, F * P)
    output = passage(name, parts[name], images_SRBI, mask_TRB=None).output_KRBH
    return output.view(S, R, B, -1, P).permute(0, 4, 1, 2, 3)
