"""modReLU (Arjovsky, Shah & Bengio 2016), real-valued: a ReLU on the magnitude that keeps the sign."""

import torch
from torch import Generator, Tensor, nn

from rnnlab.contract import Count, NonNegative, checked


class ModReLU(nn.Module):
    """phi(a) = sign(a) max(|a| + b, 0) with one learned bias b per unit.

    Args:
        bias_range: b is drawn from U(-bias_range, bias_range); the published value is 0.01.
        replicas: R.
        units: H; the input's last axis.
    """

    @checked
    def __init__(self, *, bias_range: NonNegative, replicas: Count, units: Count) -> None:
        super().__init__()
        self.bias_range = bias_range
        self.bias = nn.Parameter(torch.zeros(replicas, 1, units))

    def initialise(self, replica: int, generator: Generator) -> None:
        """Draw one replica's bias."""
        nn.init.uniform_(self.bias[replica], -self.bias_range, self.bias_range, generator=generator)

    def forward(self, preactivation_RBH: Tensor) -> Tensor:
        return torch.sign(preactivation_RBH) * torch.relu(torch.abs(preactivation_RBH) + self.bias)
