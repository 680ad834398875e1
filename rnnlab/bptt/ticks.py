"""A sequence as a slow cell sees it: every d-th step, the last one among them, and what is held in between.

Counted from the end, a step is a tick of d where it is a multiple of d steps before the last. So padding before a short
example moves no tick, every tick of d n is one of d, and at the last step nothing is old.

T time, T' = ceil(T / d) ticks, R replica, B batch, X anything.
"""

import torch
from torch import Tensor


def ticks(value_TRBX: Tensor, every: int) -> Tensor:
    """(T', R, B, X): the values at the ticks."""
    return value_TRBX[(len(value_TRBX) - 1) % every :: every]


def held(value_TRBX: Tensor, every: int, steps: int) -> Tensor:
    """(steps, R, B, X): at each of the last so many steps the value of the tick at or before it, 0 before the first.

    Args:
        value_TRBX: of the last ticks, as many as that takes.
    """
    before_T = torch.arange(steps - 1, -1, -1, device=value_TRBX.device)  # how far a step is from the last
    at_T = len(value_TRBX) - 1 - (before_T + every - 1) // every
    # By index, whose gradient adds the held steps one after the other: a sum may depend on how many replicas there are.
    padded_TRBX = torch.cat([torch.zeros_like(value_TRBX[:1]), value_TRBX])
    return padded_TRBX[(at_T + 1).clamp(min=0)]


def needed(steps: int, every: int) -> int:
    """How many of the last ticks tell what is held at the last so many steps, where there are as many."""
    return (steps - 1 + every - 1) // every + 1
