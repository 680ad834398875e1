"""torch.nn.RNN's own default for biases."""

import math

from torch import Generator, Tensor, nn

from rnnlab.contract import Count, component


@component
class Uniform:
    """U(-1/sqrt(H), 1/sqrt(H)) (H: hidden units, `units`); one vector, where torch.nn adds two such."""

    units: Count

    def __call__(self, bias_H: Tensor, generator: Generator) -> None:
        bound = 1.0 / math.sqrt(self.units)
        nn.init.uniform_(bias_H, -bound, bound, generator=generator)
