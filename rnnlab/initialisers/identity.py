"""The identity matrix, as in the IRNN (Le, Jaitly & Hinton 2015)."""

from torch import Generator, Tensor, nn

from rnnlab.contract import Finite, component
from rnnlab.plan import Plan, Refusal


@component
class Identity:
    """scale * I on every gate block; scale 1 with ReLU is the IRNN. Only for square blocks: recurrent weights."""

    scale: Finite

    def why_not(self, plan: Plan) -> Refusal:
        if plan.key != "initialiser":
            return "It is for square weights, as recurrent ones are"
        if plan.cell.square and not plan.cell.multiplies:  # but with W - W', say: nothing is left of a symmetric draw
            return f"{plan.chosen('cell')} has no recurrent weights that act as they are drawn"
        return None

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        nn.init.eye_(weight_OI)
        weight_OI.mul_(self.scale)
