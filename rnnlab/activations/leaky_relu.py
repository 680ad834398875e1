"""Leaky ReLU (Maas, Hannun & Ng 2013)."""

from torch import Tensor, nn
from torch.nn import functional

from rnnlab.contract import NonNegative, checked


class LeakyReLU(nn.Module):
    """phi(a) = a for a > 0, else slope * a.

    Args:
        slope: the derivative on the negative side, >= 0.
    """

    @checked
    def __init__(self, *, slope: NonNegative) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, preactivation: Tensor) -> Tensor:
        return functional.leaky_relu(preactivation, self.slope)
