"""Products for R replicas at once, whose last bits do not depend on how many there are.

A product with one column or one row runs another kernel alone than in a batch: it is given two, of which one is zero.

R replica, N rows, I input, O output.
"""

import torch
from torch import Tensor
from torch.nn import functional


def affine(input_RNI: Tensor, weight_RIO: Tensor, bias_R1O: Tensor) -> Tensor:
    """x W + b, (R, N, O)."""
    O = weight_RIO.shape[-1]
    weight_RIO = functional.pad(weight_RIO, (0, 1)) if O == 1 else weight_RIO
    return torch.bmm(input_RNI, weight_RIO)[..., :O] + bias_R1O


def at_least_two(input_RNI: Tensor, weight_RIO: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and their weights, with a second input of zeros where there is one: the gradient is such a product."""
    if weight_RIO.shape[1] > 1:
        return input_RNI, weight_RIO
    return functional.pad(input_RNI, (0, 1)), functional.pad(weight_RIO, (0, 0, 0, 1))
