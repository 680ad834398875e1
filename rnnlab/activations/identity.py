"""Identity: a linear net, for which theory says what the gradient does."""

from torch import Tensor, nn

from rnnlab.contract import component


@component
class Identity(nn.Module):
    """phi(a) = a."""

    def forward(self, preactivation: Tensor) -> Tensor:
        return preactivation
