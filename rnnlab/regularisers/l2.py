"""A quadratic penalty on the recurrent weights (Hoerl & Kennard 1970; for recurrent nets: Pascanu et al. 2013)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.contract import Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.regularisers.regulariser import Seen


@component
class L2:
    """P = strength |W|_F^2, over all gate blocks of the recurrent weights W: the gradient is 2 strength W.

    It enters the gradient, so an adaptive optimiser rescales it, unlike adamw's weight decay.

    Args:
        strength: > 0.
    """

    strength: Positive

    acts: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parametrisation.orthogonal:
            return f"With {plan.chosen('parametrisation')} its penalty is the same wherever the weights are"
        if not (plan.cell.square or (plan.cell.recurrent and plan.cell.multiplies)):
            return f"It is for recurrent weights that states are multiplied by; {plan.chosen('cell')} has none"
        return None

    def penalty(self, seen: Seen) -> Tensor:
        return self.strength * seen.cell.weight_recurrent.flatten(1).square().sum(1)
