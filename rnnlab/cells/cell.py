"""What a cell is, and the stacked parameters that the classical cells share.

Shapes: R replica, B batch, I input, H hidden, G = blocks * H gate rows.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rnnlab.cells.affine import at_least_two
from rnnlab.plan import Plan

Grid = tuple[int, int]
"""Rows and columns of places, pixels of an image, say; (1, 1) where inputs are none."""
State = tuple[Tensor, ...]
"""One tensor per name in the cell's `states`, (R, B, width); see `Cell.widths`."""


class Cell(nn.Module):
    """One step of a recurrent net for R replicas at once.

    A cell sets `blocks`, the names of the H-wide column blocks of its recurrent weights, and `states`, the names of
    its state components (the one that is also the output first; a component may depend, within a step, only on later
    ones), and writes `step`. One whose output is several components side by side names them in `put_out_states`.
    Unrolling, adjoints and truncation are somebody else's job. A gated cell also tells its `gates`, in `carried` which
    of them multiplies a state component's old value in the new one, the straight path of the gradient, and in
    `admitted` which multiplies what is new in it. Where it is not a gate itself that multiplies the old value, but
    1 - z, say, `kept` tells what does.

    A cell without blocks has no `weight_recurrent`, or makes one of another shape under that name: what an optimiser's
    `recurrent_lr_factor` is for. Parameters that the configured initialisers do not draw a cell draws itself: see
    `Initialises`.

    Args:
        replicas, inputs, hidden: R, I, H.
        input_blocks: names of the column blocks of input weights and biases, where they are others than `blocks`.
        blocks: this cell's, where it depends on the number of inputs how many there are.
        bias_blocks: names of the blocks of biases, where they are others than those of input weights.
    Raises:
        ValueError: fewer units than the cell needs.
    """

    blocks: ClassVar[tuple[str, ...]]
    states: ClassVar[tuple[str, ...]]
    weight_recurrent: nn.Parameter
    multiplies: ClassVar[bool] = True
    """Whether states are multiplied by `weight_recurrent` as it stands, and not by something made from it."""
    least: ClassVar[int] = 1
    """The fewest units that it can have."""
    grid: Grid = (1, 1)
    """Places that each of its H units stands at: a state component holds unit after unit, each with all its places."""
    convolves: ClassVar[bool] = False
    """Whether it can be given a `grid`."""
    predicts: ClassVar[bool] = False
    """Whether its first outputs are the prediction itself: the net has no readout then."""
    carried: ClassVar[dict[str, str]] = {}
    """State component: the gate that its old value is multiplied by."""
    admitted: ClassVar[dict[str, str]] = {}
    """State component: the gate that its new content is multiplied by, where that is not 1 minus the carrying one."""

    differentiable: ClassVar[bool] = True
    """Whether its gradient is that of what it computes, and not an estimate in its place (straight through a step)."""

    def __init__(
        self,
        *,
        replicas: int,
        inputs: int,
        hidden: int,
        input_blocks: tuple[str, ...] | None = None,
        blocks: tuple[str, ...] | None = None,
        bias_blocks: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        if blocks is not None:
            self.__dict__["blocks"] = blocks
        if hidden < self.least:
            raise ValueError(f"hidden={hidden} is too small; at least {self.least}")
        self.inputs, self.hidden = inputs, hidden
        self.input_blocks = self.blocks if input_blocks is None else input_blocks
        self.bias_blocks = self.input_blocks if bias_blocks is None else bias_blocks
        self.bias_shifts: dict[str, float] = {}  # by gate; for a cell to set
        self.weight_input = nn.Parameter(torch.zeros(replicas, inputs, len(self.input_blocks) * hidden))
        if self.blocks:
            self.weight_recurrent = nn.Parameter(torch.zeros(replicas, hidden, len(self.blocks) * hidden))
        self.bias = nn.Parameter(torch.zeros(replicas, 1, len(self.bias_blocks) * hidden))

    @abstractmethod
    def step(self, input_RBI: Float[Tensor, "R B I"], state: State) -> tuple[Float[Tensor, "R B H"], State]:
        """(output, new state) of one time step."""
        raise NotImplementedError

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        """The gates that `step` computes with, sigmoids (R, B, H) by block; empty for a cell that has none."""
        return {}

    def kept(self, gates: dict[str, Tensor]) -> dict[str, Tensor]:
        """State component: what its old value is multiplied by, (R, B, H), where `gates` are those of the step."""
        return {state: gates[gate] for state, gate in self.carried.items()}

    @property
    def gated(self) -> bool:
        """Whether it has gates."""
        return bool(self._gates_of_nothing())

    @property
    def carriers(self) -> tuple[str, ...]:
        """The state components whose old value gates multiply; see `kept`."""
        return tuple(self.kept(self._gates_of_nothing()))

    def _gates_of_nothing(self) -> dict[str, Tensor]:
        nothing = self.told(self.weight_input.new_zeros(1, len(self.weight_input), 1, self.inputs), None, None)[0]
        return self.gates(nothing, self.zero_state(nothing))

    @property
    def recurrent(self) -> bool:
        """Whether it has recurrent weights."""
        return hasattr(self, "weight_recurrent")

    @property
    def square(self) -> bool:
        """Whether its recurrent weights are square blocks, (H, H), side by side."""
        shape = tuple(self.weight_recurrent.shape[1:]) if self.recurrent else ()
        return shape == (self.hidden, len(self.blocks) * self.hidden)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of each state component."""
        return (self.hidden,) * len(self.states)

    @property
    def put_out_states(self) -> tuple[str, ...]:
        """The state components that are its output, side by side: the first one."""
        return self.states[:1]

    @property
    def width(self) -> int:
        """Of what it puts out."""
        return sum(w for state, w in zip(self.states, self.widths, strict=True) if state in self.put_out_states)

    def put_out(self, state: State) -> Tensor:
        """What it puts out in a state."""
        parts = [state[self.states.index(name)] for name in self.put_out_states]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def told(self, input_TRBI: Tensor, mask_TRB: Tensor | None, target_KRBO: Tensor | None) -> Tensor:
        """The inputs as its steps take them.

        A cell whose step depends on more than input and state, such as the time or what should have been predicted, has
        that told in columns behind the inputs.

        Args:
            mask_TRB: False where an example has no such step; None where all have all.
            target_KRBO: what should be predicted at the last K steps; None where it is not to be shown.
        """
        return input_TRBI

    def remark(self, plan: Plan) -> str | None:
        """What is worth saying of a run with this cell, though it makes sense."""
        if not self.blocks:
            return f"{plan.chosen('initialiser')} draws nothing here: {plan.chosen('cell')} has no recurrent matrices."
        return None

    def preactivation(self, input_RBI: Tensor, state_RBH: Tensor) -> Tensor:
        """x U + h W + b for all blocks side by side, (R, B, G)."""
        return torch.baddbmm(self.from_input(input_RBI), state_RBH, self.weight_recurrent)

    def from_input(self, input_RBI: Tensor) -> Tensor:
        """x U + b for all blocks side by side, (R, B, G)."""
        return torch.baddbmm(self.bias, *at_least_two(input_RBI, self.weight_input))

    def shift_biases(self, replica: int) -> None:
        """Add what a cell adds to its freshly drawn biases: opens a forget gate, say."""
        for name, shift in self.bias_shifts.items():
            self.block(self.bias[replica], name).add_(shift)

    @property
    def absent(self) -> int:
        """How many entries of its parameters, per replica, are no connections and stay 0."""
        return 0

    def constrain(self) -> None:
        """Put the parameters back to where they have to be, in place: after every draw and every update."""

    def zero_state(self, input_RBI: Tensor) -> State:
        """The initial state for inputs like these: zeros."""
        R, B, _ = input_RBI.shape
        return tuple(input_RBI.new_zeros(R, B, width) for width in self.widths)

    def blocks_of(self, parameter: Tensor) -> tuple[str, ...]:
        """The names of a stacked parameter's column blocks, which its width tells; none for one without."""
        width = parameter.shape[-1]
        of_all = (self.blocks, self.input_blocks, self.bias_blocks)
        return next((b for b in of_all if b and width == len(b) * self.hidden), ())

    def block(self, parameter: Tensor, name: str) -> Tensor:
        """One block's columns of a stacked parameter, as a view."""
        at = self.blocks_of(parameter).index(name) * self.hidden
        return parameter[..., at : at + self.hidden]


ActivationFactory = Callable[[], nn.Module]
"""Makes one activation for R replicas of H units; a cell calls it once per place where its equations have tanh."""


class Activation(Protocol):
    """An nn.Module that stands where a cell's equations have tanh."""

    def forward(self, preactivation_RBH: Tensor, /) -> Tensor:
        """phi of every element."""
        ...


@runtime_checkable
class Initialiser(Protocol):
    """Draws one block of weights, or of biases, of one replica."""

    def __call__(self, weight_OI: Tensor, generator: Generator, /) -> None:
        """Draw in place; (O, I), or (H,) for biases."""
        ...


@runtime_checkable
class Initialises(Protocol):
    """An activation or a cell with parameters of its own, which it draws itself."""

    def initialise(self, replica: int, generator: Generator) -> None:
        """Draw one replica's parameters."""
        ...


@runtime_checkable
class InitialisesGates(Protocol):
    """A bias initialiser for which gates are not all alike."""

    def initialise_gates(self, cell: Cell, replica: int, generator: Generator) -> None:
        """Draw one replica's biases of certain gates, after all blocks were drawn."""
        ...


def initialise_cell(
    cell: Cell, replica: int, recurrent: Initialiser, inputs: Initialiser, bias: Initialiser, generator: Generator
) -> None:
    """Draw one replica's parameters, block by block, in a fixed order.

    An initialiser sees each block as torch has it, (out, in).
    """
    with torch.no_grad():
        for name in cell.blocks:
            draw_weights(cell.block(cell.weight_recurrent[replica], name), recurrent, generator)
        for name in cell.input_blocks:
            draw_weights(cell.block(cell.weight_input[replica], name), inputs, generator)
        for name in cell.bias_blocks:
            drawn = torch.empty_like(cell.block(cell.bias[replica, 0], name))
            bias(drawn, generator)
            cell.block(cell.bias[replica, 0], name).copy_(drawn)
        if isinstance(bias, InitialisesGates):
            bias.initialise_gates(cell, replica, generator)
        for module in cell.modules():
            if isinstance(module, Initialises):
                module.initialise(replica, generator)
        cell.shift_biases(replica)
        cell.constrain()


def draw_weights(block_IO: Tensor, initialiser: Initialiser, generator: Generator) -> None:
    """Draw one replica's weights in place; the initialiser sees them as torch has them, (out, in)."""
    drawn_OI = torch.empty_like(block_IO.T.contiguous())
    initialiser(drawn_OI, generator)
    block_IO.copy_(drawn_OI.T)
