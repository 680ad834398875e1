"""ReLU: phi(a) = max(a, 0) (Nair & Hinton 2010)."""

import torch
from torch import Tensor, nn

from rnnlab.contract import component


@component
class ReLU(nn.Module):
    """phi(a) = max(a, 0), of any shape; its derivative at 0 is taken as 0."""

    def forward(self, preactivation: Tensor) -> Tensor:
        return torch.relu(preactivation)
