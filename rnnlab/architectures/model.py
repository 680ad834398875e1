"""A net for R replicas: the parts of an architecture, and a readout.

T time, K scored steps, R replica, B batch, H hidden, O output.
"""

import copy
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlab.architectures.architecture import Architecture, MakeCell
from rnnlab.bptt.passage import Passage, prefix
from rnnlab.cells.cell import Cell, Initialiser
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.parametrisations.recurrent import RecurrentWeights
from rnnlab.tasks.task import Batch

PARAMETRISED = "parametrised"
"""The module of a cell that makes its recurrent weights."""


class Model(nn.Module):
    """An architecture's parts by their names, and a linear readout o_t = y_t V + c of what it lets the readout see.

    Under a parametrisation the cells have no recurrent weights of their own; a batch goes through `effective()`.

    Args:
        architecture: how the parts are wired.
        cell: makes a cell for so many inputs.
        replicas, inputs, outputs: R, I, O.
    """

    def __init__(self, architecture: Architecture, cell: MakeCell, *, replicas: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.architecture = architecture
        parts = architecture.parts(cell, inputs)
        self.part_names = tuple(parts)
        for name, part in parts.items():
            self.add_module(name, part)
        width = architecture.width(next(iter(self.cells.values())).hidden)
        self.weight_output = nn.Parameter(torch.zeros(replicas, width, outputs))
        self.bias_output = nn.Parameter(torch.zeros(replicas, 1, outputs))

    @property
    def parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.part_names}

    @property
    def cells(self) -> dict[str, Cell]:
        """By name, in the architecture's order."""
        return {name: part for name, part in self.parts.items() if isinstance(part, Cell)}

    @property
    def states(self) -> tuple[str, ...]:
        """The state components of all cells, as files name them: `h`, `c`; of several cells `layer1.h`, …"""
        return tuple(f"{prefix(name)}{state}" for name, cell in self.cells.items() for state in cell.states)

    def forward(self, batch: Batch, passage: Passage) -> Tensor:
        """(R, K, B, O): what is predicted at the scored steps."""
        return self.readout(self.outputs(batch, passage))

    def outputs(self, batch: Batch, passage: Passage) -> Tensor:
        """(K, R, B, H'): what the readout sees."""
        return passage.leave(self.architecture.run(self.parts, batch.input, passage))

    def readout(self, output_KRBH: Tensor) -> Tensor:
        """(R, K, B, O): one product per replica over all its steps and examples."""
        K, R, B, H = output_KRBH.shape
        flat = output_KRBH.transpose(0, 1).reshape(R, K * B, H)
        O = self.weight_output.shape[-1]
        # A product with one column runs another kernel alone than in a batch, with other last bits: give it two.
        weight = functional.pad(self.weight_output, (0, 1)) if O == 1 else self.weight_output
        return (torch.bmm(flat, weight)[..., :O] + self.bias_output).view(R, K, B, O)

    def initialise_readout(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Draw one replica's readout; the initialiser sees it as torch has it, (out, in)."""
        with torch.no_grad():
            drawn = torch.empty_like(self.weight_output[replica].T.contiguous())
            weight(drawn, generator)
            self.weight_output[replica].copy_(drawn.T)
            bias(self.bias_output[replica, 0], generator)

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
