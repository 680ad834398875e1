"""Memory that is used again: a fresh buffer of 100 MB costs 50 ms of page faults, in every training step."""

import math
import threading
import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

_ALIGNED = 64
_SMALL = 1 << 20
"""Bytes below which malloc itself uses memory again."""
_PATIENCE = 500
"""Leases after which a block that nothing took is let go: that of a run that has ended."""
_free: list[tuple[int, np.ndarray]] = []  # since which lease, and the block
_returned: deque[np.ndarray] = deque()
_lock = threading.Lock()
_leases = _in_use = _peak = 0


def lease(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor whose memory returns to a pool when no tensor or graph refers to it any more.

    What is free in the pool was used lately, and is not more than the most that was ever in use at one time.

    Args:
        shape, dtype: of the tensor.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALL:
        return torch.empty(shape, dtype=dtype)
    with _lock:
        block = _take(size)
    view = block[:size]
    # torch keeps `view` for as long as anything uses the storage, and nothing else does. The finalizer takes no lock:
    # the garbage collector may call it anywhere, also while this thread holds ours.
    weakref.finalize(view, _returned.append, block).atexit = False
    return torch.from_numpy(view).view(dtype).view(shape)


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A leased tensor of zeros, filled by this thread alone.

    torch would fill it with OpenMP, whose threads keep a core busy for some milliseconds after, just when the
    kernel's own threads need it: up to 1.5 times the time of a step with two threads on two cores.
    """
    made = lease(shape, dtype)
    made.numpy().fill(0)
    return made


def _take(size: int) -> np.ndarray:
    global _leases, _in_use, _peak
    _leases += 1
    while _returned:
        block = _returned.popleft()
        _in_use -= block.nbytes
        _free.append((_leases, block))
    fitting = [k for k, (_, block) in enumerate(_free) if size <= block.nbytes <= 2 * size]
    block = _free.pop(min(fitting, key=lambda k: _free[k][1].nbytes))[1] if fitting else _aligned(size)
    _in_use += block.nbytes
    _peak = max(_peak, _in_use)
    while _free and (_leases - _free[0][0] > _PATIENCE or sum(b.nbytes for _, b in _free) > _peak):
        _free.pop(0)  # the one that has been free for longest
    return block


def _aligned(size: int) -> np.ndarray:
    raw = np.empty(size + _ALIGNED, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return raw[start : start + size]
