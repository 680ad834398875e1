"""Biases of zero."""

from torch import Generator, Tensor

from rnnlab.contract import component


@component
class Zeros:
    """b = 0."""

    def __call__(self, bias_H: Tensor, generator: Generator) -> None:
        bias_H.zero_()
