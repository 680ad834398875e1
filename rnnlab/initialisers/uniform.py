"""torch.nn.RNN's own default."""

import math

from torch import Generator, Tensor, nn

from rnnlab.contract import Count, component


@component
class Uniform:
    """U(-1/sqrt(H), 1/sqrt(H)), what torch.nn.RNN, LSTM and GRU draw for every weight and bias.

    Args:
        units: H.
    """

    units: Count

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        bound = 1.0 / math.sqrt(self.units)
        nn.init.uniform_(weight_OI, -bound, bound, generator=generator)
