"""The Jordan net, which remembers by its own outputs (Jordan 1986)."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.affine import affine, at_least_two
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import BelowOne, Count, checked
from rnnlab.plan import Plan, Refusal

FEEDBACK: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda y_RBO: y_RBO,
    "sigmoid": sigmoid,
    "softmax": lambda y_RBO: torch.softmax(y_RBO, dim=-1),
}


class Jordan(Cell):
    """c_t = mu c_{t-1} + g(y_{t-1}),  h_t = phi(x_t U + c_t W + b),  y_t = h_t V + d, the prediction.

    All that goes from step to step is the context c, as wide as the output: with mu = 0 the state's Jacobian has no
    higher rank than there are outputs. With g linear besides it is the Elman net whose recurrent weights are V W.

    Under teacher forcing the target stands in the place of g(y_{t-1}) in training, where the task has one for step t-1,
    and no gradient passes to the step before; in evaluation the net hears itself.

    Args:
        hidden: H.
        self_connection: mu in [0, 1), of a context unit with itself.
        feedback: g. `linear`, or, of the scores of classes, their `sigmoid` or `softmax`.
        teacher_forcing: whether the context is made of targets in training.
        activation: makes phi.
        replicas, inputs, outputs: R, I, O.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    states: ClassVar[tuple[str, ...]] = ("y", "h", "c")
    predicts: ClassVar[bool] = True

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        self_connection: BelowOne,
        feedback: Literal["linear", "sigmoid", "softmax"],
        teacher_forcing: bool,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
        outputs: Count,
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.self_connection, self.feedback, self.teacher_forcing = self_connection, feedback, teacher_forcing
        self.outputs = outputs
        self.weight_recurrent = nn.Parameter(torch.zeros(replicas, outputs, hidden))
        self.weight_output = nn.Parameter(torch.zeros(replicas, hidden, outputs))
        self.bias_output = nn.Parameter(torch.zeros(replicas, 1, outputs))
        self.activation = activation()

    def why_not(self, plan: Plan) -> Refusal:
        if plan.has("architecture"):
            return f"Its output is the prediction, and {plan.chosen('architecture')} reads outputs on"
        return None

    @property
    def widths(self) -> tuple[int, ...]:
        return self.outputs, self.hidden, self.outputs

    def told(self, input_TRBI: Tensor, mask_TRB: Tensor | None, target_KRBO: Tensor | None) -> Tensor:
        """With the target of the step before; NaN where there is none."""
        if not self.teacher_forcing:
            return input_TRBI
        before_TRBO = input_TRBI.new_full((*input_TRBI.shape[:3], self.outputs), torch.nan)
        if target_KRBO is not None:
            before_TRBO[len(before_TRBO) - len(target_KRBO) + 1 :] = target_KRBO[:-1]
        return torch.cat([input_TRBI, before_TRBO], dim=-1)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        y, _, c = state
        heard = FEEDBACK[self.feedback](y)
        if self.teacher_forcing:
            input_RBI, target_RBO = input_RBI.split([self.inputs, self.outputs], dim=-1)
            heard = torch.where(target_RBO.isnan(), heard, target_RBO)
        c = self.self_connection * c + heard
        h = self.activation(torch.baddbmm(self.from_input(input_RBI), *at_least_two(c, self.weight_recurrent)))
        y = affine(h, self.weight_output, self.bias_output)
        return y, (y, h, c)
