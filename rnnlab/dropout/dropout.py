"""What dropout is, its random numbers, and cells with something done around their step.

T time, R replica, B batch, I input, H hidden, K scored steps.
"""

from functools import cached_property
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.gru import GRU
from rnnlab.streams import generator


class Noise:
    """The masks of one training step, each replica's from a generator of its own.

    Args:
        seeds: (R,), the replicas.
        step: which update, 1-based.
        like: a tensor of the dtype and on the device that masks are to have.
    """

    def __init__(self, seeds: list[int], step: int, like: Tensor) -> None:
        self.seeds, self.step, self.like = seeds, step, like

    def chosen(self, rate: float, steps: int, batch: int, width: int) -> Tensor:
        """(steps, R, batch, width) bool: True with probability `rate`."""
        drawn = [torch.rand(steps, batch, width, generator=of_seed) < rate for of_seed in self._generators]
        return torch.stack(drawn, dim=1).to(self.like.device)

    def kept(self, rate: float, steps: int, batch: int, width: int) -> Tensor:
        """Likewise: 0 with probability `rate`, else 1 / (1 - rate), so that 1 is the mean."""
        dropped = self.chosen(rate, steps, batch, width)
        return (~dropped).to(self.like.dtype) / (1 - rate)

    @cached_property
    def _generators(self) -> list[Generator]:
        return [generator(seed, "dropout", self.step) for seed in self.seeds]


class Dropout:
    """Drops something in every training step. Every call of a cell is dropped in by itself."""

    within: ClassVar[bool] = False
    """Whether it acts within a step, which only the autograd engine can serve."""

    def drop(self, cell: Cell, input_TRBI: Tensor, noise: Noise) -> tuple[Cell, Tensor]:
        """The cell and the inputs as they are in one call of a training step."""
        return cell, input_TRBI

    def drop_outputs(self, output_KRBH: Tensor, noise: Noise) -> Tensor:
        """What the readout sees of the net's last outputs in a training step."""
        return output_KRBH

    def expected(self, cell: Cell) -> Cell:
        """The cell in evaluation."""
        return cell


class Around(Cell):
    """A cell with something done around its step, from time step 0 on; for one sequence."""

    def __init__(self, cell: Cell) -> None:
        nn.Module.__init__(self)  # no parameters of its own
        self.cell, self.inputs, self.hidden, self.time = cell, cell.inputs, cell.hidden, 0
        self.__dict__.update(blocks=cell.blocks, states=cell.states)

    @property
    def widths(self) -> tuple[int, ...]:
        return self.cell.widths

    @property
    def put_out_states(self) -> tuple[str, ...]:
        return self.cell.put_out_states

    def zero_state(self, input_RBI: Tensor) -> State:
        return self.cell.zero_state(input_RBI)

    def at(self, masks: Tensor) -> Tensor:
        """This time step's of the masks (T, R, B, H), or of the one (1, R, B, H) for all."""
        return masks[min(self.time, len(masks) - 1)]


class MaskedRecurrence(Around):
    """h_{t-1} m in place of h_{t-1} in all products with recurrent weights, and nowhere else.

    For the Elman net, the LSTM, and the GRU, whose update gate carries h_{t-1} itself on.
    """

    def __init__(self, cell: Cell, mask_TRBH: Tensor) -> None:
        super().__init__(cell)
        self.mask_TRBH = mask_TRBH

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        h, *rest = state
        heard = (h * self.at(self.mask_TRBH), *rest)
        self.time += 1
        output, new = self.cell.step(input_RBI, heard)
        if isinstance(self.cell, GRU):
            output = output + self.cell.gates(input_RBI, heard)["update"] * (h - heard[0])
            new = (output,)
        return output, new
