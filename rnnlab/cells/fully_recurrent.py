"""The fully recurrent net, whose outputs are among its units (Williams & Zipser 1989)."""

from typing import ClassVar

from rnnlab.cells.rnn import RNN
from rnnlab.contract import component
from rnnlab.plan import Plan, Refusal


@component
class FullyRecurrent(RNN):
    """y_{t+1} = phi(x_t U + y_t W + b); the first of the units y are the prediction, there is no readout.

    Every unit hears every unit and every input, one step later: what input t makes of the units is read as the
    prediction of step t. The paper's phi is the logistic function; it bounds the prediction as it bounds a unit.

    Args:
        hidden: H, outputs and hidden units together.
        activation: makes phi.
        replicas, inputs: R, I.
    """

    predicts: ClassVar[bool] = True

    def why_not(self, plan: Plan) -> Refusal:
        if plan.has("architecture"):
            return f"Its units are the prediction, and {plan.chosen('architecture')} reads outputs on"
        if self.hidden < plan.task.outputs:
            return {"hidden": f"{plan.chosen('task')} has {plan.task.outputs} outputs, which are among the units"}
        return None
