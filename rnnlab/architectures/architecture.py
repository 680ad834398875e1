"""What an architecture is: which cells there are, and what each of them reads.

T time, K trailing steps, R replica, B batch, I input, H hidden, O output.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Generator, Tensor, nn

from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Cell, Grid, Initialiser
from rnnlab.plan import Plan

MakeCell = Callable[..., Cell]
"""Makes the configured cell for so many inputs I, with H units and all parameters zero. Keywords stand in the place of
its hyper-parameters, or of the `grid` of the task's images."""
Parts = Mapping[str, Any]
"""The modules of a net by name."""


def layers_of(cell: MakeCell, inputs: int, layers: int) -> dict[str, nn.Module]:
    """Cells `layer1`, `layer2`, ..., each made for what the one below puts out, the first for the inputs."""
    made = dict[str, nn.Module]()
    for k in range(1, layers + 1):
        made[f"layer{k}"] = layer = cell(inputs)
        inputs = layer.width
    return made


def none_given(units: int) -> nn.Module:
    """In place of an activation, where a net is made by hand and only of cells."""
    raise ValueError("this net is made without an activation; give one in `Sizes`")


@dataclass(frozen=True)
class Sizes:
    """What a net is made for.

    replicas, inputs, outputs: R, I, O.
    hidden: H, `cell.hidden`.
    image: channels, height and width of the task's images; None where it has none.
    activation: makes the configured one for so many units, for parts that are no cells.
    """

    replicas: int
    inputs: int
    outputs: int
    hidden: int
    image: tuple[int, int, int] | None = None
    activation: Callable[[int], nn.Module] = none_given

    @property
    def grid(self) -> Grid:
        """Of the image that a step reads whole, channel after channel; (1, 1) where it reads none."""
        return self.image[1:] if self.image and prod(self.image) == self.inputs else (1, 1)

    @property
    def imagines(self) -> bool:
        """Whether a prediction is such an image, too."""
        return self.image is not None and prod(self.image) == self.outputs


@runtime_checkable
class Part(Protocol):
    """A module of a net that is no cell: it draws its parameters, (R, ...), itself.

    One whose values are watched (`Passage.watch`) has `states`, which are LAYER of rnnlab.bptt.passage. One that keeps
    much for the backward pass tells how much at least, in `numbers_kept(rows)`, per replica of so many steps of
    examples.
    """

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Draw one replica's parameters, with the initialisers of input weights and biases."""
        ...


class Architecture:
    """Wires cells. It has no parameters of its own: those are its parts'.

    Each use of a cell over a sequence is one *call*, which goes through a `Passage`: that knows the engine, the adjoint
    rule, dropout and what is to be recorded, so that an architecture need not.
    """

    of_cells: ClassVar[bool] = True
    """Whether it is made of cells. One that is not goes with `cell=none`, and says so: see `wants_no_cell`."""
    looks_ahead: ClassVar[bool] = False
    """Whether a step's output depends on later inputs: of some tasks the next input is the answer."""
    decodes: ClassVar[bool] = False
    """Whether what it predicts comes after the whole input, of which the last steps are no more than others."""
    predicts: ClassVar[bool] = False
    """Whether what `run` gives is the prediction itself: the net has no readout then, but among its parts."""

    @property
    def reads_backward(self) -> bool:
        """Whether the cell that reads the input, the first, begins with its last step."""
        return False

    def wants_no_cell(self, plan: Plan) -> str | None:
        """Why not with a cell; for the `why_not` of one without cells."""
        if plan.cell.states:
            return f"It has no cells, and {plan.chosen('cell')} would do nothing; allowed: cell=none"
        return None

    @abstractmethod
    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        """The modules that it consists of, by name: cells, all made by `cell`, and each other a `Part`.

        A trailing underscore is for names that torch has taken, such as `forward`, and is told to nobody.
        """
        raise NotImplementedError

    @abstractmethod
    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        """What the readout sees, (K, R, B, H'): of the last `passage.last` steps at least.

        One that predicts gives (K, R, B, O), and its readout what `passage.leave` gives.
        """
        raise NotImplementedError

    def steps_of(self, cells: int, steps: int) -> list[int]:
        """How many steps each of so many cells takes of a sequence with so many: all, unless it says otherwise."""
        return [steps] * cells

    def width(self, parts: Parts) -> int:
        """H', of what the readout sees: what the last cell puts out, unless an architecture says otherwise."""
        return [part for part in parts.values() if isinstance(part, Cell)][-1].width
