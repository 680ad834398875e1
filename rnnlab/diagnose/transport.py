"""The way of the last step's gradient back through time, and what takes from it at every step.

T time, K scored step, R replica (one), B batch, H hidden.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rnnlab.architectures.model import Model
from rnnlab.bptt.passage import Call, Passage
from rnnlab.cells.cell import Cell
from rnnlab.cells.linear import LinearCell
from rnnlab.probes.steps import Path, paths
from rnnlab.tasks.task import Batch, Task


@dataclass(frozen=True)
class Transport:
    """`gain_T` and `causes` as `rnnlab.diagnose.findings.Measured` has them."""

    gain_T: np.ndarray
    causes: dict[str, np.ndarray]


def carrier(cell: Cell) -> str:
    """The state component that a gate carries on, `c` of an LSTM; without one, the first that is carried on at all."""
    # The output of an LRU, its first component, is made anew at every step.
    return next(iter(cell.carriers), cell.states[int(isinstance(cell, LinearCell) and len(cell.states) > 1)])


def transports(model: Model, task: Task, batch: Batch) -> dict[str, Transport]:
    """Carry the derivative of the last step's loss back, by autograd, without an adjoint rule: by call, in their order.

    Only the last step's: where all steps are scored, the losses of early steps would hide that nothing comes from late
    ones. For a cell that reads from the end it is the first step's, which is its last; not where a decoder goes on.

    Args:
        model: of one replica, whose parameters need no gradient; in float64, for gains fall below 1e-38.
        batch: with its replica axis.
    """
    taken, output_KRBH = paths(model, batch, lambda engine: Passage(engine, scored=task.scored, mask_TRB=batch.mask))
    loss = task.losses(model.readout(output_KRBH), batch).sum()
    (direct_KRBH,) = torch.autograd.grad(loss, output_KRBH, retain_graph=True)
    found = {}
    for path in taken:
        at = 0 if path.call.backward and not model.architecture.decodes else -1
        found[path.call.prefix] = _transport(path, output_KRBH[at], direct_KRBH[at])
    return found


def _transport(path: Path, source_RBH: Tensor, direct_RBH: Tensor) -> Transport:
    cell, name = path.call.cell, carrier(path.call.cell)
    back = partial(_norms, source_RBH, direct_RBH, path.call)
    norm_TB = back(path.made(name))
    gain_T = _relative(norm_TB, norm_TB)
    if path.call.stride > 1:  # its causes are per step of its own
        return Transport(gain_T, {})
    if name in cell.carriers:
        (straight_RBH,) = torch.autograd.grad(source_RBH, path.made(name)[-1], direct_RBH, retain_graph=True)
        return Transport(gain_T, _gated(path, name, norm_TB, gain_T, straight_RBH))
    return Transport(gain_T, _ungated(path, back, norm_TB, gain_T))


def _norms(source_RBH: Tensor, direct_RBH: Tensor, call: Call, at: list[Tensor]) -> Tensor:
    """(T, B): norms of the derivatives by these tensors, at the sequence's steps; NaN where an example has none.

    Of a dilated call, of its d steps from t on the largest: nothing comes from the last step to most of them.
    """
    found = torch.autograd.grad(source_RBH, at, direct_RBH, retain_graph=True, allow_unused=True)
    whole = [torch.zeros_like(x) if g is None else g for g, x in zip(found, at, strict=True)]
    norm_TRB = call.on_sequence(torch.linalg.vector_norm(torch.stack(whole), dim=-1))
    if call.there is not None:
        norm_TRB = norm_TRB.masked_fill(~call.there, torch.nan)
    if call.dilation > 1:
        behind = functional.pad(norm_TRB, (0, 0, 0, 0, 0, call.dilation - 1))
        norm_TRB = behind.unfold(0, call.dilation, 1).amax(-1)
    return norm_TRB[:, 0]


def _relative(norm_TB: Tensor, to_TB: Tensor) -> np.ndarray:
    """(T,): mean over the examples of the norm over that at the last step."""
    return (norm_TB / to_TB[-1]).nanmean(-1).numpy()


def _change(gain_T: np.ndarray) -> np.ndarray:
    """(T,): log10 gain[t-1] - log10 gain[t], NaN at the first and where there is no gradient."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_T = np.log10(gain_T)
        change = np.concatenate([[np.nan], log_T[:-1] - log_T[1:]])
    return np.where(np.isfinite(change), change, np.nan)


def _ungated(path: Path, back: partial[Tensor], norm_TB: Tensor, gain_T: np.ndarray) -> dict[str, np.ndarray]:
    """h_t = phi(a_t): the way through phi, and the way from a_t to h_{t-1}. {} where the cell is not of this form."""
    cell, applied = path.call.cell, [pair for pairs in path.applied.values() for pair in pairs]
    if cell.gated or len(cell.states) > 1 or len(applied) != len(path.steps):
        return {}
    after_TB = back([result for _, result in applied])
    if not torch.allclose(after_TB, norm_TB, equal_nan=True):
        return {}
    through_T = _relative(back([argument for argument, _ in applied]), norm_TB)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_T = np.log10(through_T) - np.log10(gain_T)
    slope_T = np.where(np.isfinite(slope_T), slope_T, np.nan)
    return {"slope": slope_T, "weights": _change(gain_T) - slope_T}


def _gated(path: Path, name: str, norm_TB: Tensor, gain_T: np.ndarray, straight_RBH: Tensor) -> dict[str, np.ndarray]:
    """The way through the products with the carrying gate alone, and what all other ways add to it or take."""
    cell, input_TRBI, mask_TRB = path.call.cell, path.call.input_TRBI, path.call.mask_TRB
    norms = [torch.linalg.vector_norm(straight_RBH[0], dim=-1)]
    with torch.no_grad():
        for t in range(len(path.steps) - 1, 0, -1):
            gate_RBH = cell.kept(cell.gates(input_TRBI[t], path.steps[t].before))[name]
            straight_RBH = straight_RBH * gate_RBH
            norms.append(torch.linalg.vector_norm(straight_RBH[0], dim=-1))
    straight_TB = torch.stack(norms[::-1])
    if mask_TRB is not None:
        straight_TB = straight_TB.masked_fill(~mask_TRB[:, 0], torch.nan)
    gate_T = _change(_relative(straight_TB, norm_TB))
    return {"gate": gate_T, "detours": _change(gain_T) - gate_T}
