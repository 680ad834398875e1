"""What an architecture is: which cells there are, and what each of them reads.

T time, K trailing steps, R replica, B batch, I input, H hidden.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Cell

MakeCell = Callable[[int], Cell]
"""Makes the configured cell for so many inputs I, with H units and all parameters zero."""
Parts = Mapping[str, Any]
"""The modules of a net by name."""


class Architecture:
    """Wires cells. It has no parameters of its own: those are its parts'.

    Each use of a cell over a sequence is one *call*, which goes through a `Passage`: that knows the engine, the adjoint
    rule, dropout and what is to be recorded, so that an architecture need not.
    """

    @abstractmethod
    def parts(self, cell: MakeCell, inputs: int) -> dict[str, nn.Module]:
        """The modules that it consists of, by name; every cell is made by `cell`. A trailing underscore is for names
        that torch has taken, such as `forward`, and is told to nobody.
        """
        raise NotImplementedError

    @abstractmethod
    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        """What the readout sees, (K, R, B, H'): of the last `passage.last` steps at least."""
        raise NotImplementedError

    def width(self, hidden: int) -> int:
        """H', of what the readout sees."""
        return hidden
