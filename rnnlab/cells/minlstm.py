"""minLSTM: an LSTM whose gates and candidate see the input alone (Feng et al. 2024)."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, State
from rnnlab.cells.linear import LinearCell
from rnnlab.contract import Count, Finite, checked


class MinLSTM(LinearCell):
    """h_t = f / (f + i) h_{t-1} + i / (f + i) phi(x_t U_h + b_h), with gates f, i = sigmoid(x_t U + b).

    Linear in h: there are no recurrent weights, and all time steps can be computed at once.

    Args:
        hidden: H.
        forget_bias: added once to the forget gate's initial bias.
        activation: makes phi; the paper's is identity.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ()
    states: ClassVar[tuple[str, ...]] = ("h",)
    carried: ClassVar[dict[str, str]] = {"h": "forget"}
    admitted: ClassVar[dict[str, str]] = {"h": "input"}

    @checked
    def __init__(
        self, *, hidden: Count, forget_bias: Finite, activation: ActivationFactory, replicas: Count, inputs: Count
    ) -> None:
        input_blocks = ("forget", "input", "candidate")
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=input_blocks)
        self.bias_shifts = {"forget": forget_bias}
        self.activation = activation()

    def coefficients(self, input_RBI: Tensor) -> tuple[State, State]:
        a_f, a_i, a_h = self._preactivations(input_RBI)
        # f / (f + i) = sigmoid(log f - log i), also where both underflow.
        apart = logsigmoid(a_f) - logsigmoid(a_i)
        return (sigmoid(apart),), (sigmoid(-apart) * self.activation(a_h),)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        a_f, a_i, _ = self._preactivations(input_RBI)
        return {"forget": sigmoid(a_f), "input": sigmoid(a_i)}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": gates["forget"] / (gates["forget"] + gates["input"])}

    def _preactivations(self, input_RBI: Tensor) -> tuple[Tensor, ...]:
        """Of f, i and the candidate."""
        return self.from_input(input_RBI).chunk(3, dim=-1)
