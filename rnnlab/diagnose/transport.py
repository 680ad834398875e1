"""The way of the last step's gradient back through time, and what takes from it at every step.

T time, K scored step, R replica (one), B batch, H hidden.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.cells.cell import Cell
from rnnlab.cells.linear import LinearCell
from rnnlab.probes.steps import Step, walk
from rnnlab.tasks.task import Batch, Task
from rnnlab.architectures.model import Model


@dataclass(frozen=True)
class Transport:
    """`gain_T` and `causes` as `rnnlab.diagnose.findings.Measured` has them."""

    gain_T: np.ndarray
    causes: dict[str, np.ndarray]


def carrier(cell: Cell) -> str:
    """The state component that a gate carries on, `c` of an LSTM; without one, the first that is carried on at all."""
    # The output of an LRU, its first component, is made anew at every step.
    return next(iter(cell.carriers), cell.states[int(isinstance(cell, LinearCell) and len(cell.states) > 1)])


def transport(model: Model, task: Task, batch: Batch) -> Transport:
    """Carry the derivative of the last step's loss back, by autograd, without an adjoint rule.

    Only the last step's: where all steps are scored, the losses of early steps would hide that nothing comes from late
    ones.

    Args:
        model: of one replica, whose parameters need no gradient; in float64, for gains fall below 1e-38.
        batch: with its replica axis.
    """
    cell, name = model.cell, carrier(model.cell)
    start = tuple(s.requires_grad_() for s in cell.zero_state(batch.input[0]))
    with _watched(cell) as calls:
        steps = list(walk(cell, batch, start))
    last_RBH = steps[-1].output_RBH
    outputs_KRBH = torch.stack([step.output_RBH for step in steps[-task.scored :]])
    (direct_RBH,) = torch.autograd.grad(
        task.losses(model.readout(outputs_KRBH), batch).sum(), last_RBH, retain_graph=True
    )
    carried = [step.made[cell.states.index(name)] for step in steps]
    back = partial(_norms, last_RBH, direct_RBH, batch.mask)
    norm_TB = back(carried)
    gain_T = _relative(norm_TB, norm_TB)
    if name in cell.carriers:
        causes = _gated(cell, name, steps, batch, norm_TB, gain_T, direct_RBH)
    else:
        causes = _ungated(cell, calls, len(steps), back, norm_TB, gain_T)
    return Transport(gain_T, causes)


Calls = list[tuple[Tensor, Tensor]]
"""Argument and result of every call of an activation."""


@contextmanager
def _watched(cell: Cell) -> Iterator[Calls]:
    calls: Calls = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        calls.append((given[0], result))

    hooks = [module.register_forward_hook(keep) for _, module in cell.named_children()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _norms(last_RBH: Tensor, direct_RBH: Tensor, mask_TRB: Tensor | None, at: list[Tensor]) -> Tensor:
    """(T, B): norms of the derivatives by these tensors; NaN where an example has no such step."""
    found = torch.autograd.grad(last_RBH, at, direct_RBH, retain_graph=True, allow_unused=True)
    whole = [torch.zeros_like(x) if g is None else g for g, x in zip(found, at, strict=True)]
    norm_TB = torch.linalg.vector_norm(torch.stack(whole)[:, 0], dim=-1)
    return norm_TB if mask_TRB is None else norm_TB.masked_fill(~mask_TRB[:, 0], torch.nan)


def _relative(norm_TB: Tensor, to_TB: Tensor) -> np.ndarray:
    """(T,): mean over the examples of the norm over that at the last step."""
    return (norm_TB / to_TB[-1]).nanmean(-1).numpy()


def _change(gain_T: np.ndarray) -> np.ndarray:
    """(T,): log10 gain[t-1] - log10 gain[t], NaN at the first and where there is no gradient."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_T = np.log10(gain_T)
        change = np.concatenate([[np.nan], log_T[:-1] - log_T[1:]])
    return np.where(np.isfinite(change), change, np.nan)


def _ungated(
    cell: Cell, calls: Calls, steps: int, back: partial[Tensor], norm_TB: Tensor, gain_T: np.ndarray
) -> dict[str, np.ndarray]:
    """h_t = phi(a_t): the way through phi, and the way from a_t to h_{t-1}. {} where the cell is not of this form."""
    if cell.gated or len(cell.states) > 1 or len(calls) != steps:
        return {}
    after_TB = back([result for _, result in calls])
    if not torch.allclose(after_TB, norm_TB, equal_nan=True):
        return {}
    through_T = _relative(back([argument for argument, _ in calls]), norm_TB)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_T = np.log10(through_T) - np.log10(gain_T)
    slope_T = np.where(np.isfinite(slope_T), slope_T, np.nan)
    return {"slope": slope_T, "weights": _change(gain_T) - slope_T}


def _gated(
    cell: Cell, name: str, steps: list[Step], batch: Batch, norm_TB: Tensor, gain_T: np.ndarray, direct_RBH: Tensor
) -> dict[str, np.ndarray]:
    """The way through the products with the carrying gate alone, and what all other ways add to it or take."""
    (straight_RBH,) = torch.autograd.grad(
        steps[-1].output_RBH, steps[-1].made[cell.states.index(name)], direct_RBH, retain_graph=True
    )
    norms = [torch.linalg.vector_norm(straight_RBH[0], dim=-1)]
    with torch.no_grad():
        for t in range(len(steps) - 1, 0, -1):
            gate_RBH = cell.kept(cell.gates(batch.input[t], steps[t].before))[name]
            straight_RBH = straight_RBH * gate_RBH
            norms.append(torch.linalg.vector_norm(straight_RBH[0], dim=-1))
    straight_TB = torch.stack(norms[::-1])
    if batch.mask is not None:
        straight_TB = straight_TB.masked_fill(~batch.mask[:, 0], torch.nan)
    gate_T = _change(_relative(straight_TB, norm_TB))
    return {"gate": gate_T, "detours": _change(gain_T) - gate_T}
