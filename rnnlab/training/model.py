"""A cell and its readout, for R replicas.

T time, K scored steps, R replica, B batch, H hidden, O output.
"""

import copy

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlab.cells.cell import Cell, Initialiser
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.parametrisations.recurrent import RecurrentWeights


class Model(nn.Module):
    """The cell, and a linear readout o_t = h_t V + c.

    Under a parametrisation the cell has no recurrent weights of its own; a sequence is unrolled with `plain()`.
    """

    def __init__(self, cell: Cell, *, replicas: int, outputs: int) -> None:
        super().__init__()
        self.cell = cell
        self.parametrised: RecurrentWeights | None = None
        self.weight_output = nn.Parameter(torch.zeros(replicas, cell.hidden, outputs))
        self.bias_output = nn.Parameter(torch.zeros(replicas, 1, outputs))

    def initialise_readout(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Draw one replica's readout; the initialiser sees it as torch has it, (out, in)."""
        with torch.no_grad():
            drawn = torch.empty_like(self.weight_output[replica].T.contiguous())
            weight(drawn, generator)
            self.weight_output[replica].copy_(drawn.T)
            bias(self.bias_output[replica, 0], generator)

    def parametrise(self, parametrisation: Parametrisation) -> None:
        """Train what the parametrisation makes the recurrent weights of, in place of the drawn weights themselves."""
        if parametrisation.acts:
            self.parametrised = RecurrentWeights(parametrisation, self.cell)
            del self.cell.weight_recurrent

    def plain(self) -> "Model":
        """The model that this one amounts to now: effective recurrent weights as an ordinary parameter of the cell.

        It shares every other parameter with this one. After a backward pass through it, `pull_back` has the rest.
        """
        if self.parametrised is None:
            return self
        self._effective = self.parametrised()
        twin, cell = copy.copy(self), copy.copy(self.cell)
        cell._parameters = {**self.cell._parameters, "weight_recurrent": nn.Parameter(self._effective.detach())}
        twin._modules = {**self._modules, "cell": cell, "parametrised": None}
        del twin._effective
        return twin

    def pull_back(self, plain: "Model") -> None:
        """Carry the gradient of the effective recurrent weights on to what is trained in their place."""
        if plain is not self:
            self._effective.backward(plain.cell.weight_recurrent.grad)
            del self._effective

    def readout(self, output_KRBH: Tensor) -> Tensor:
        """(R, K, B, O): one product per replica over all its steps and examples."""
        K, R, B, H = output_KRBH.shape
        flat = output_KRBH.transpose(0, 1).reshape(R, K * B, H)
        O = self.weight_output.shape[-1]
        # A product with one column runs another kernel alone than in a batch, with other last bits: give it two.
        weight = functional.pad(self.weight_output, (0, 1)) if O == 1 else self.weight_output
        return (torch.bmm(flat, weight)[..., :O] + self.bias_output).view(R, K, B, O)
