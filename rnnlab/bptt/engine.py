"""Engines: who unrolls a cell. Same signature, same answer; they differ in speed and in what they serve."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt import scan
from rnnlab.bptt.fused.library import KernelUnavailable, NoCompiler
from rnnlab.bptt.fused.unroll import fused_unroll, why_not
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.linear import LinearCell
from rnnlab.contract import ConfigError

ENGINES = ("fused", "scan", "autograd")
LOST = "The autograd engine is used; with the kernel training would be about 3 to 10 times as fast."
LOST_FOR_A_COMPILER = "The autograd engine is used; with a C++ compiler training would be about 3 to 10 times as fast."


@dataclass(frozen=True)
class Engine:
    """One way to unroll a cell, as chosen for a run.

    name: one of ENGINES.
    why: a clause on why it was chosen.
    threads: how many it computes with.
    unroll: has the signature and the meaning of `rnnlab.bptt.unroll.unroll`.
    """

    name: str
    why: str
    threads: int
    unroll: Callable[..., Unrolled]


def autograd_engine(why: str, *, vectors: bool = False) -> Engine:
    """The plain loop with hooks, on one thread (with more, MKL's products depend on how many replicas there are).

    Args:
        vectors: whether it keeps the adjoints themselves.
    """
    return Engine("autograd", why, 1, functools.partial(unroll, vectors=True) if vectors else unroll)


def scan_engine(why: str) -> Engine:
    """All steps of a linear recurrence together, on one thread of the CPU (for the same reason) or on a device."""
    return Engine("scan", why, 1, scan.scan_unroll)


def fused_engine(why: str, *, threads: int, recompute: int, say: Callable[[str], None]) -> Engine:
    """The C++ kernel. What it gives depends neither on `threads` nor on `recompute`.

    Args:
        recompute: 0: the forward pass keeps every state; k: every k-th, and the backward pass recomputes the others.
        say: is told when the kernel has to be built, which takes a while.
    Raises:
        KernelUnavailable: there is none, and none can be built.
    """
    from rnnlab.bptt.fused import operators  # not at the top: it registers the operators

    operators.kernel(say)
    return Engine("fused", why, threads, functools.partial(fused_unroll, threads=threads, recompute=recompute))


def fused_cuda_engine(why: str, *, recompute: int, precision: str) -> Engine:
    """The Triton kernels; threads of the CPU do not matter to them."""
    return Engine("fused", why, 1, functools.partial(fused_unroll, recompute=recompute, precision=precision))


def choose(
    requested: str,
    *,
    cell: Cell,
    rule: AdjointRule,
    device: torch.device,
    dtype: torch.dtype,
    threads: int,
    recompute: int,
    precision: str,
    say: Callable[[str], None],
    unserved: str | None = None,
    vectors: bool = False,
) -> Engine:
    """The engine of a run.

    Args:
        requested: `auto` (fused where it serves, else scan where that serves), or one of ENGINES.
        cell: one like the run's; its parameters and their number of replicas do not matter.
        threads, recompute: for the fused engine.
        precision: of the products; other than `ieee` only on a CUDA device.
        say: is told what takes time, and what is lost without a kernel.
        unserved: what else of the run the autograd engine alone serves, as a clause.
        vectors: whether the adjoints themselves are needed, not only their norms.
    Raises:
        ConfigError: the engine asked for cannot be had, or has no such choice as the `recompute` or `precision` given.
    """
    if requested == "autograd":
        return _of_torch(autograd_engine("it was asked for", vectors=vectors), recompute, precision)
    lacks = unserved or ("it does not keep the adjoints, which the regulariser needs" if vectors else None)
    no_scan = lacks or scan.why_not(cell, rule)
    if requested == "scan" or (requested == "auto" and no_scan is None):
        if no_scan:
            fused = "" if lacks or why_not(cell, rule, device, dtype) else "fused, "
            raise ConfigError(f"engine=scan: not allowed here, because {no_scan}. Allowed: auto, {fused}autograd.")
        why = "it was asked for" if requested == "scan" else "the cell is a linear recurrence"
        return _of_torch(scan_engine(why), recompute, precision)
    reason = lacks or why_not(cell, rule, device, dtype)
    if reason is None:
        why = "it was asked for" if requested == "fused" else "it serves this cell, activation, rule, device and dtype"
        if device.type == "cuda":
            return fused_cuda_engine(why, recompute=recompute, precision=precision)
        try:
            _refuse(precision, "It is for products on a CUDA device; this run is on the CPU")
            return fused_engine(why, threads=threads, recompute=recompute, say=say)
        except KernelUnavailable as error:
            reason = f"there is no CPU kernel: {error}"
            if requested == "auto":
                lost = LOST_FOR_A_COMPILER if isinstance(error, NoCompiler) else LOST
                say(f"There is no CPU kernel: {error}. {lost}")
    if requested == "fused":
        scans = "" if no_scan else "scan, "
        raise ConfigError(f"engine=fused: not allowed here, because {reason}. Allowed: auto, {scans}autograd.")
    other, lacking = ("scan", no_scan) if isinstance(cell, LinearCell) else ("fused", reason)
    return _of_torch(
        autograd_engine(f"the {other} engine cannot be had: {lacking}", vectors=vectors), recompute, precision
    )


def _of_torch(engine: Engine, recompute: int, precision: str) -> Engine:
    """An engine made of torch's own operations, which has no such choices."""
    used = f"The {engine.name} engine is used, because {engine.why}"
    if recompute:
        raise ConfigError(f"recompute={recompute}: not allowed here. {used}; it keeps all steps. Allowed: 0.")
    _refuse(precision, f"{used}; its products are torch's")
    return engine


def _refuse(precision: str, because: str) -> None:
    if precision != "ieee":
        raise ConfigError(f"precision={precision}: not allowed here. {because}. Allowed: ieee.")
