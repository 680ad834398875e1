"""A layer without recurrence, applied at every step by itself.

T time, R replica, B batch, I input, O output.
"""

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.bptt.passage import LAYER
from rnnlab.cells.affine import affine
from rnnlab.cells.cell import Initialiser, Initialises, draw_weights


class Dense(nn.Module):
    """y_t = x_t W + b.

    Args:
        replicas, inputs, outputs: R, I, O.
    """

    def __init__(self, *, replicas: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(replicas, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(replicas, 1, outputs))

    def forward(self, input_TRBI: Tensor) -> Tensor:
        """(T, R, B, O): one product per replica over all its steps and examples."""
        T, R, B, I = input_TRBI.shape
        flat_RNI = input_TRBI.transpose(0, 1).reshape(R, T * B, I)
        return self.applied(flat_RNI).view(R, T, B, -1).transpose(0, 1)

    def applied(self, input_RNI: Tensor) -> Tensor:
        """(R, N, O): to rows that stand one after the other."""
        return affine(input_RNI, self.weight, self.bias)

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Draw one replica's parameters; the initialiser sees the weights as torch has them, (out, in)."""
        draw_affine(self.weight, self.bias, replica, weight, bias, generator)


class Perceptron(Dense):
    """y_t = phi(x_t W + b), a layer whose adjoints are recorded: see `Passage.watch`.

    Args:
        replicas, inputs, outputs: R, I, O.
        activation: phi, for O units.
    """

    states: ClassVar[tuple[str, ...]] = LAYER

    def __init__(self, *, replicas: int, inputs: int, outputs: int, activation: nn.Module) -> None:
        super().__init__(replicas=replicas, inputs=inputs, outputs=outputs)
        self.activation = activation

    def applied(self, input_RNI: Tensor) -> Tensor:
        return self.activation(super().applied(input_RNI))

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        super().draw(replica, weight, bias, generator)
        if isinstance(self.activation, Initialises):
            self.activation.initialise(replica, generator)


class Readout(nn.Module):
    """o = y V + c, a part of an architecture that predicts: `output_initialiser` draws it, as any net's readout.

    Args:
        replicas, inputs, outputs: R, H', O.
    """

    def __init__(self, *, replicas: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.weight_output = nn.Parameter(torch.zeros(replicas, inputs, outputs))
        self.bias_output = nn.Parameter(torch.zeros(replicas, 1, outputs))

    def forward(self, output_KRBH: Tensor) -> Tensor:
        """(K, R, B, O): one product per replica over all its steps and examples."""
        K, R, B, H = output_KRBH.shape
        flat_RNH = output_KRBH.transpose(0, 1).reshape(R, K * B, H)
        return affine(flat_RNH, self.weight_output, self.bias_output).view(R, K, B, -1).transpose(0, 1)

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Nothing yet: see `Model.initialise_readout`."""


def draw_affine(
    weight_RIO: Tensor, bias_R1O: Tensor, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator
) -> None:
    """Draw one replica of weights and biases in place."""
    with torch.no_grad():
        draw_weights(weight_RIO[replica], weight, generator)
        bias(bias_R1O[replica, 0], generator)
