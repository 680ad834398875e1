"""A quadratic penalty on the recurrent weights (Hoerl & Kennard 1970; for recurrent nets: Pascanu et al. 2013)."""

from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.contract import Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.regularisers.regulariser import Regulariser


@component
class L2(Regulariser):
    """P = strength |W|_F^2, over all gate blocks of the recurrent weights W: the gradient is 2 strength W.

    It enters the gradient, so an adaptive optimiser rescales it, unlike adamw's weight decay.

    Args:
        strength: > 0.
    """

    strength: Positive

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parametrisation.orthogonal:
            return f"With {plan.chosen('parametrisation')} its penalty is the same wherever the weights are"
        if not (plan.cell.square or (plan.cell.recurrent and plan.cell.multiplies)):
            return f"It is for recurrent weights that states are multiplied by; {plan.chosen('cell')} has none"
        return None

    def penalty(self, call: Call) -> Tensor:
        return self.strength * call.cell.weight_recurrent.flatten(1).square().sum(1)
