"""Orthogonal weights (Saxe, McClelland & Ganguli 2013)."""

from torch import Generator, Tensor, nn

from rnnlab.contract import Positive, component


@component
class Orthogonal:
    """Q from the QR decomposition of a Gaussian matrix, times `gain`: every singular value is `gain`.

    Applied to one gate block at a time. (On stacked gates, as `orthogonal_` on `weight_hh` would be, the blocks
    themselves are not orthogonal.)
    """

    gain: Positive

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        nn.init.orthogonal_(weight_OI, self.gain, generator=generator)
