"""Convolutional long short-term memory (Shi et al. 2015).

R replica, B batch, I input, C channels, H hidden, P places, G gate rows.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlab.activations.sigmoid import sigmoid
from rnnlab.cells.cell import ActivationFactory, Cell, Grid, State
from rnnlab.contract import Count, Finite, checked
from rnnlab.plan import Plan

GATES = 3


class ConvLSTM(Cell):
    """i = sigmoid(x_t * U_i + h_{t-1} * W_i + V_i c_{t-1} + b_i), f likewise, c_t = f c_{t-1} + i phi(x_t * U_g +
    h_{t-1} * W_g + b_g), o = sigmoid(x_t * U_o + h_{t-1} * W_o + V_o c_t + b_o), h_t = o phi(c_t).

    States are images of H channels, at the places of the inputs' image; * is a convolution with as many outputs as
    places, so what was at a place reaches one further per step by the half width of W, and no further: a light cone.
    The peepholes V are one weight per unit and place, drawn from U(-1/sqrt(H), 1/sqrt(H)); without them (and with
    padding `circular`) a shifted input gives shifted states. An image is one channel after the other, each row by row.

    A kernel of k reads k places along every axis that has more than one: k // 2 before its own and (k - 1) // 2 after,
    so that an even one reads one more before. Initialisers see a block of U or W as (H, C k k), with the fan-in of a
    convolution. Where a step reads no image there is one place: without peepholes it is the LSTM.

    Args:
        hidden: H, channels of h and c.
        kernel_input, kernel_state: k of U and W, in places.
        padding: what is read beyond the image's edge: `zeros`, or, `circular`, its other side.
        peepholes: whether gates see c.
        forget_bias: added once to the forget gate's initial bias.
        activation: makes phi, once for the candidate and once for the output.
        replicas, inputs, grid: R, I = C P, rows and columns of places.
    Raises:
        ValueError: inputs that are no such image, or a circle that a kernel would go round more than once.
    """

    blocks: ClassVar[tuple[str, ...]] = ("input", "forget", "output", "candidate")
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    convolves: ClassVar[bool] = True
    carried: ClassVar[dict[str, str]] = {"c": "forget"}
    admitted: ClassVar[dict[str, str]] = {"c": "input"}

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        kernel_input: Count,
        kernel_state: Count,
        padding: Literal["zeros", "circular"],
        peepholes: bool,
        forget_bias: Finite,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
        grid: Grid,
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.grid, self.places = grid, math.prod(grid)
        if inputs % self.places:
            raise ValueError(f"inputs={inputs} are no image of {grid[0]}x{grid[1]} places")
        self.padding, self.bias_shifts = padding, {"forget": forget_bias}
        self.window_input, self.window_state = (self._window(k) for k in (kernel_input, kernel_state))
        rows = inputs // self.places * math.prod(self.window_input)
        self.weight_input = nn.Parameter(torch.zeros(replicas, rows, 4 * hidden))
        rows = hidden * math.prod(self.window_state)
        self.weight_recurrent = nn.Parameter(torch.zeros(replicas, rows, 4 * hidden))
        self.peepholes = nn.Parameter(torch.zeros(replicas, 1, GATES * hidden * self.places)) if peepholes else None
        self.candidate_activation = activation()
        self.output_activation = activation()

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.hidden * self.places,) * len(self.states)

    def remark(self, plan: Plan) -> str | None:
        if self.places == 1 and not plan.has("architecture"):
            return f"A step of {plan.chosen('task')} reads no image: {plan.chosen('cell')} has one place, as an LSTM."
        return super().remark(plan)

    def initialise(self, replica: int, generator: Generator) -> None:
        """Draw one replica's peepholes."""
        if self.peepholes is not None:
            bound = 1 / math.sqrt(self.hidden)
            nn.init.uniform_(self.peepholes[replica], -bound, bound, generator=generator)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        _, o, c = self._opened(input_RBI, state)
        h = o * self._everywhere(self.output_activation, c)
        return h, (h, c)

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        (i, f), o, _ = self._opened(input_RBI, state)
        return {"input": i, "forget": f, "output": o}

    def _opened(self, input_RBI: Tensor, state: State) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """i and f, o, and c_t, which o sees."""
        h, c = state
        a = self._convolved(input_RBI, self.weight_input, self.window_input, self.bias)
        a = a + self._convolved(h, self.weight_recurrent, self.window_state)
        width = self.hidden * self.places
        a_if, a_o, a_g = a.split((2 * width, width, width), dim=-1)
        V_if, V_o = (None, None) if self.peepholes is None else self.peepholes.split((2 * width, width), dim=-1)
        i, f = sigmoid(a_if if V_if is None else a_if + V_if * torch.cat([c, c], dim=-1)).chunk(2, dim=-1)
        c = torch.addcmul(f * c, i, self._everywhere(self.candidate_activation, a_g))
        return (i, f), sigmoid(a_o if V_o is None else a_o + V_o * c), c

    def _window(self, kernel: int) -> Grid:
        """A kernel's rows and columns: along an axis with one place there is nothing else to read."""
        if self.padding == "circular" and kernel // 2 > min((n for n in self.grid if n > 1), default=kernel):
            raise ValueError(f"a kernel of {kernel} goes round the {self.grid[0]}x{self.grid[1]} places more than once")
        rows, columns = (kernel if places > 1 else 1 for places in self.grid)
        return rows, columns

    def _convolved(self, image_RBI: Tensor, weight_RIG: Tensor, window: Grid, bias_R1G: Tensor | None = None) -> Tensor:
        """(R, B, G P). Replica by replica, each as alone."""
        mode = "constant" if self.padding == "zeros" else "circular"
        around = [beyond for k in reversed(window) for beyond in (k // 2, (k - 1) // 2)]
        found = list[Tensor]()
        for r, weight_IG in enumerate(weight_RIG):
            image = functional.pad(image_RBI[r].unflatten(-1, (-1, *self.grid)), around, mode)
            kernel = weight_IG.T.unflatten(-1, (-1, *window)).contiguous()
            found.append(functional.conv2d(image, kernel, None if bias_R1G is None else bias_R1G[r, 0]))
        return torch.stack(found).flatten(2)

    def _everywhere(self, activation: nn.Module, value_RBW: Tensor) -> Tensor:
        """phi of (R, B, H P), whose parameters are one per unit, the same at all its places."""
        if self.places == 1:
            return activation(value_RBW)
        R, B, _ = value_RBW.shape
        apart_RBPH = value_RBW.view(R, B, self.hidden, self.places).transpose(-1, -2)
        phi_RNH = activation(apart_RBPH.reshape(R, B * self.places, self.hidden))
        return phi_RNH.view(apart_RBPH.shape).transpose(-1, -2).reshape(value_RBW.shape)
