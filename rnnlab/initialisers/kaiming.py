"""Kaiming (He, Zhang, Ren & Sun 2015)."""

import math
from typing import Literal

from torch import Generator, Tensor, nn

from rnnlab.contract import Positive, component


@component
class Kaiming:
    """Variance gain^2 / fan_in, from a uniform or normal `distribution`; gain sqrt(2) is the one for ReLU."""

    distribution: Literal["uniform", "normal"]
    gain: Positive

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        deviation = self.gain / math.sqrt(weight_OI.shape[1])
        if self.distribution == "normal":
            nn.init.normal_(weight_OI, 0.0, deviation, generator=generator)
        else:
            bound = math.sqrt(3.0) * deviation
            nn.init.uniform_(weight_OI, -bound, bound, generator=generator)
