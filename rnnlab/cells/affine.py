"""x W + b for R replicas at once.

R replica, N rows, I input, O output.
"""

import torch
from torch import Tensor
from torch.nn import functional


def affine(input_RNI: Tensor, weight_RIO: Tensor, bias_R1O: Tensor) -> Tensor:
    """(R, N, O)."""
    O = weight_RIO.shape[-1]
    # A product with one column runs another kernel alone than in a batch, with other last bits: give it two.
    weight_RIO = functional.pad(weight_RIO, (0, 1)) if O == 1 else weight_RIO
    return torch.bmm(input_RNI, weight_RIO)[..., :O] + bias_R1O
