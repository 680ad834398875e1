"""What a graph keeps of a forward pass for the backward pass."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell

TINY = (4, 8)
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


def numbers_per_unit(cells: Mapping[int, Cell], unroll: Callable[..., Unrolled]) -> int:
    """Numbers that an engine of torch's own operations keeps per unit, example and time step: measured.

    The bytes are a polynomial in time steps T, examples B and units H. Differences in all three leave the coefficient
    of T B H: nothing that is kept once per sequence, or that does not grow with the batch.

    Args:
        cells: of one replica each, by the units of TINY.
        unroll: the engine's.
    """

    def bytes_of(T: int, B: int, H: int) -> int:
        cell = cells[H]
        return kept_bytes(lambda: unroll(cell, torch.zeros(T, 1, B, cell.inputs), last=1), cell.parameters())

    def per_step(B: int, H: int) -> int:
        return bytes_of(3, B, H) - bytes_of(2, B, H)

    few, more = (per_step(2, H) - per_step(1, H) for H in TINY)
    return max(0, (more - few) // (TINY[1] - TINY[0]) // torch.float32.itemsize)
