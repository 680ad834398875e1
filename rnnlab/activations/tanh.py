"""tanh: phi(a) = tanh a, the cells' own choice."""

import torch
from torch import Tensor, nn

from rnnlab.contract import component


@component
class Tanh(nn.Module):
    """phi(a) = tanh a, of any shape; phi' <= 1, and 1 only at 0."""

    def forward(self, preactivation: Tensor) -> Tensor:
        return torch.tanh(preactivation)
