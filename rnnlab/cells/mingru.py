"""minGRU: a GRU whose gate and candidate see the input alone (Feng et al. 2024)."""

from typing import ClassVar

from torch import Tensor

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, State
from rnnlab.cells.linear import LinearCell
from rnnlab.contract import Count, checked


class MinGRU(LinearCell):
    """z = sigmoid(x_t U_z + b_z),  h_t = (1 - z) h_{t-1} + z phi(x_t U_h + b_h).

    Linear in h: there are no recurrent weights, and all time steps can be computed at once.

    Args:
        hidden: H.
        activation: makes phi; the paper's is identity.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ()
    states: ClassVar[tuple[str, ...]] = ("h",)

    @checked
    def __init__(self, *, hidden: Count, activation: ActivationFactory, replicas: Count, inputs: Count) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=("update", "candidate"))
        self.activation = activation()

    def coefficients(self, input_RBI: Tensor) -> tuple[State, State]:
        z, a_h = self._opened(input_RBI)
        return (1 - z,), (z * self.activation(a_h),)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        return {"update": self._opened(input_RBI)[0]}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": 1 - gates["update"]}

    def _opened(self, input_RBI: Tensor) -> tuple[Tensor, Tensor]:
        """z and the candidate's preactivation."""
        a_z, a_h = self.from_input(input_RBI).chunk(2, dim=-1)
        return sigmoid(a_z), a_h
