"""What a parametrisation of the recurrent weights is.

H hidden. A block is one gate's recurrent weights as the cell multiplies with them, h W: (H, H), or (1, H) for a cell
that has one recurrent weight per unit.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from rnnlab.plan import Plan, Refusal

Parts = dict[str, Tensor]


class Parametrisation:
    """Makes one block of recurrent weights, the effective weight W, from what is trained in its place."""

    acts: ClassVar[bool] = True
    """False: W itself is trained."""
    square: ClassVar[bool] = True
    """Whether it is for square blocks, (H, H); else for one weight per unit, (1, H)."""
    orthogonal: ClassVar[bool] = False
    """Whether W is orthogonal, whatever is trained."""
    weight: ClassVar[Callable[..., Tensor]]
    """W, of the drawn block's shape, from the trained and the fixed parts, given by their names."""

    @abstractmethod
    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        """What is trained and what stays fixed, by name, so that W is the drawn block or the nearest that there is.

        Args:
            drawn: what the initialiser drew, float64; on the device `meta`, where only shapes are asked for.
        """
        raise NotImplementedError

    def why_not(self, plan: Plan) -> Refusal:
        cell = plan.cell
        if not self.acts:
            return None
        wanted = "square blocks of recurrent weights" if self.square else "one recurrent weight per unit"
        shape = tuple(cell.weight_recurrent.shape[1:]) if cell.recurrent else None
        if not (cell.square if self.square else shape == (1, cell.hidden)):
            has = "none" if shape is None else f"{shape[0]} x {shape[1]} of them for {cell.hidden} units"
        elif not cell.multiplies:
            has = "such, but multiplies with something made from them"
        else:
            return None
        return f"It is for {wanted}; {plan.chosen('cell')} has {has}"
