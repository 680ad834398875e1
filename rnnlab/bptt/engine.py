"""Engines: who unrolls a cell. Same signature, same answer; they differ in speed and in what they serve."""

from collections.abc import Callable
from dataclasses import dataclass

from rnnlab.bptt.unroll import Unrolled, unroll


@dataclass(frozen=True)
class Engine:
    """One way to unroll a cell, as chosen for a run.

    name: `autograd`.
    why: one sentence on why it was chosen.
    threads: how many it computes with.
    unroll: has the signature and the meaning of `rnnlab.bptt.unroll.unroll`.
    """

    name: str
    why: str
    threads: int
    unroll: Callable[..., Unrolled]


def autograd_engine(why: str) -> Engine:
    """The plain loop with hooks, on one thread (with more, MKL's products depend on how many replicas there are)."""
    return Engine("autograd", why, 1, unroll)
