"""Xavier (Glorot & Bengio 2010)."""

from typing import Literal

from torch import Generator, Tensor, nn

from rnnlab.contract import Positive, component


@component
class Xavier:
    """Variance gain^2 * 2 / (fan_in + fan_out), from a uniform or normal `distribution`."""

    distribution: Literal["uniform", "normal"]
    gain: Positive

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        draw = {"uniform": nn.init.xavier_uniform_, "normal": nn.init.xavier_normal_}[self.distribution]
        draw(weight_OI, self.gain, generator=generator)
