"""What a parametrisation of the recurrent weights is.

H hidden. A block is one gate's recurrent weights as the cell multiplies with them, h W: (H, H), or (1, H) for a cell
that has one recurrent weight per unit.
"""

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

Parts = dict[str, Tensor]


@runtime_checkable
class Parametrisation(Protocol):
    """Makes one block of recurrent weights, the effective weight W, from what is trained in its place."""

    acts: ClassVar[bool]
    """False: W itself is trained."""
    square: ClassVar[bool]
    """Whether it is for square blocks, (H, H); else for one weight per unit, (1, H)."""

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        """What is trained and what stays fixed, by name, so that W is the drawn block or the nearest that there is.

        Args:
            drawn: what the initialiser drew, float64; on the device `meta`, where only shapes are asked for.
        """
        ...

    def weight(self, **parts: Tensor) -> Tensor:
        """W, of the drawn block's shape, from the trained and the fixed parts."""
        ...
