"""No noise."""

from torch import Tensor

from rnnlab.contract import component


@component
class NoNoise:
    """Leaves every gradient as it is."""

    def __call__(self, gradients: list[Tensor], seeds: list[int], step: int) -> None:
        pass
