"""A net for R replicas: the parts of an architecture, and a readout.

T time, K scored steps, R replica, B batch, H hidden, O output.
"""

import copy
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Sizes
from rnnlab.architectures.dense import draw_affine
from rnnlab.bptt.passage import Passage, prefix
from rnnlab.cells.affine import affine
from rnnlab.cells.cell import Cell, Initialiser
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.parametrisations.recurrent import RecurrentWeights
from rnnlab.tasks.task import Batch

PARAMETRISED = "parametrised"
"""The module of a cell that makes its recurrent weights."""


class Model(nn.Module):
    """An architecture's parts by their names, and a linear readout o_t = y_t V + c of what it lets the readout see.

    Where the prediction is an image, and the readout sees units at its places, the readout is the same at every place,
    a 1x1 convolution: H and O are those of a place then.

    Where a cell or the architecture predicts, nothing is read out: the first outputs are the prediction.
    Under a parametrisation the cells have no recurrent weights of their own; a batch goes through `effective()`.

    Args:
        architecture: how the parts are wired.
        cell: makes a cell for so many inputs.
        sizes: that it is made for.
    """

    def __init__(self, architecture: Architecture, cell: MakeCell, sizes: Sizes) -> None:
        super().__init__()
        self.architecture, self.sizes = architecture, sizes
        parts = architecture.parts(cell, sizes)
        self.part_names = tuple(parts)
        for name, part in parts.items():
            self.add_module(name, part)
        self.predicts = architecture.predicts or any(cell.predicts for cell in self.cells.values())
        if not self.predicts:
            self.places = self._places(architecture.width(parts))
            R, O = sizes.replicas, sizes.outputs // self.places
            self.weight_output = nn.Parameter(torch.zeros(R, architecture.width(parts) // self.places, O))
            self.bias_output = nn.Parameter(torch.zeros(R, 1, O))

    @property
    def parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.part_names}

    @property
    def cells(self) -> dict[str, Cell]:
        """By name, in the architecture's order."""
        return {name: part for name, part in self.parts.items() if isinstance(part, Cell)}

    @property
    def states(self) -> tuple[str, ...]:
        """The states of all parts that have adjoints, as files name them: `h`, `c`; of several cells `layer1.h`, …"""
        return tuple(f"{prefix(n)}{state}" for n, part in self.parts.items() for state in getattr(part, "states", ()))

    def forward(self, batch: Batch, passage: Passage) -> Tensor:
        """(R, K, B, O): what is predicted at the scored steps."""
        return self.readout(self.outputs(batch, passage))

    def outputs(self, batch: Batch, passage: Passage) -> Tensor:
        """(K, R, B, H'): what the readout sees."""
        output_KRBH = self.architecture.run(self.parts, batch.input, passage)
        return passage.only_scored(output_KRBH) if self.predicts else passage.leave(output_KRBH)

    def readout(self, output_KRBH: Tensor) -> Tensor:
        """(R, K, B, O): one product per replica over all its steps and examples."""
        if self.predicts:
            return output_KRBH[..., : self.sizes.outputs].transpose(0, 1)
        K, R, B, H = output_KRBH.shape
        P, output_RKBH = self.places, output_KRBH.transpose(0, 1)
        if P > 1:
            output_RKBH = output_RKBH.reshape(R, K, B, H // P, P).transpose(-1, -2)
        flat_RNH = output_RKBH.reshape(R, K * B * P, H // P)
        read_RNO = affine(flat_RNH, self.weight_output, self.bias_output)
        return read_RNO.view(R, K, B, -1) if P == 1 else read_RNO.view(R, K, B, P, -1).transpose(-1, -2).flatten(3)

    def _places(self, width: int) -> int:
        """Of the image that is predicted, where what the readout sees stands at them; else one."""
        places = prod(self.sizes.grid) if self.sizes.imagines else 1
        stands = [cell.grid for cell in self.cells.values()][-1:] == [self.sizes.grid]
        return places if stands and width % places == 0 else 1

    def initialise_readout(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Draw one replica's readout, which a part may have where the net has none."""
        owners: list[Any] = [self, *self.parts.values()]
        for owner in owners:
            if hasattr(owner, "weight_output"):
                draw_affine(owner.weight_output, owner.bias_output, replica, weight, bias, generator)

    def parametrise(self, parametrisation: Parametrisation) -> None:
        """Train what the parametrisation makes recurrent weights of, in place of the drawn weights themselves."""
        for cell in self.cells.values() if parametrisation.acts else ():
            cell.add_module(PARAMETRISED, RecurrentWeights(parametrisation, cell))
            del cell.weight_recurrent

    def effective(self) -> "Model":
        """The model that this one amounts to now: effective recurrent weights as ordinary parameters of the cells.

        It shares every other parameter with this one. After a backward pass through it, `pull_back` has the rest.
        """
        self._made: dict[str, Tensor] = {
            name: getattr(cell, PARAMETRISED)() for name, cell in self.cells.items() if hasattr(cell, PARAMETRISED)
        }
        if not self._made:
            return self
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        for name, weight in self._made.items():
            cell = twin._modules[name] = copy.copy(self.cells[name])
            cell._parameters = {**cell._parameters, "weight_recurrent": nn.Parameter(weight.detach())}
            cell._modules = {child: module for child, module in cell._modules.items() if child != PARAMETRISED}
        del twin._made
        return twin

    def pull_back(self, effective: "Model") -> None:
        """Carry the gradients of effective recurrent weights on to what is trained in their place."""
        for name, weight in self._made.items():
            weight.backward(effective.cells[name].weight_recurrent.grad)
        self._made = {}
