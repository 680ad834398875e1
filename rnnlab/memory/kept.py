"""What a graph keeps of a forward pass for the backward pass."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell

STEP = 4
TINY = (STEP, 2 * STEP, 3 * STEP)
"""Units of the cells that are measured."""


def kept_bytes(forward: Callable[[], Any], parameters: Iterable[Tensor]) -> int:
    """Bytes that stay allocated between forward and backward: each storage of a saved tensor, counted once.

    Args:
        forward: returns something that holds the graph.
        parameters: are left out.
    """
    known = {p.untyped_storage().data_ptr() for p in parameters}
    alive: dict[int, Tensor] = {}  # holds the tensors, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        alive.setdefault(tensor.untyped_storage().data_ptr(), tensor.detach())
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = forward()
    del graph
    return sum(t.untyped_storage().nbytes() for at, t in alive.items() if at not in known)


def numbers_per_step(cells: Mapping[int, Cell], unroll: Callable[..., Unrolled]) -> tuple[int, int]:
    """(a, b) of the a B H + b H^2 numbers that an engine of torch's own operations keeps per time step: measured.

    The bytes that a graph keeps are a polynomial in time steps T, examples B and units H, of second degree in H.
    Differences leave the coefficients of T B H and T H^2, and nothing that is kept once per sequence.

    Args:
        cells: of one replica each, by the units of TINY.
        unroll: the engine's.
    """

    def bytes_of(T: int, B: int, H: int) -> int:
        cell = cells[H]
        inputs = cell.told(torch.zeros(T, 1, B, cell.inputs), None, None)
        return kept_bytes(lambda: unroll(cell, inputs, last=1), cell.parameters())

    def per_step(B: int, H: int) -> int:
        return bytes_of(3, B, H) - bytes_of(2, B, H)

    one, two = ([per_step(B, H) for H in TINY] for B in (1, 2))
    of_example = [more - few for few, more in zip(one, two, strict=True)]
    shared = [few - more for few, more in zip(one, of_example, strict=True)]
    a, b = of_example[1] - of_example[0], shared[2] - 2 * shared[1] + shared[0]
    return max(0, a // STEP // torch.float32.itemsize), max(0, b // (2 * STEP**2) // torch.float32.itemsize)
