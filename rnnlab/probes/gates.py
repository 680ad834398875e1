"""The gates probe: how open the gates are, how long they remember, and how much gradient takes their straight path.

T time, R replica, B batch, H hidden, Q quantiles.
"""

import copy
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rnnlab.contract import component
from rnnlab.plan import Plan, Refusal
from rnnlab.probes.probe import Moment, Named, joined, prefixed
from rnnlab.probes.steps import AllSteps, Path, paths

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the quantiles, which lie between two ordered values where need be."""


@component
class Gates:
    """Every gate's distribution; of the state that they carry on, memory length and share of the gradient.

    Per gate (`forget`, ...), over steps, examples and units: `mean` (R,), and `quantiles` (R, Q) at LEVELS; over
    examples and units of one step: `mean_at_step` (R, T) and `quantiles_at_step` (R, T, Q).

    Per state component s with s_t = f_t s_{t-1} + ..., where the cell makes f of its gates (`Cell.kept`: the forget
    gate for `c` of an LSTM, the update gate for `h` of a GRU): `memory_length` (R, H), each unit's 1 / (1 - f), f its
    mean, in time steps, and the units' `memory_length_median`.

    How much of the gradient takes the straight path, through the products with f and nothing else: v = dL/ds_T is the
    direction, per example, that the loss asks of the last state. The gradient of v . s_T is g_t = (ds_T/ds_t)^T v at
    step t over all paths, and p_t = v f_{t+1} ... f_T over the straight one. `straight_share_at_step` (R, T) is the
    mean over examples of |p_t| / (|p_t| + |g_t - p_t|): 1 where nothing else arrives, 0 where the gates are shut;
    `straight_share` (R,) its mean over steps. `straight_gain_at_step` and `gain_at_step` (R, T) are the means of
    |p_t| / |v| and |g_t| / |v|. Adjoint rules do not act here. NaN where v is 0.

    Steps that an example does not have do not count. A cell without gates has nothing to measure.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.gated else f"{plan.chosen('cell')} has no gates"

    def measure(self, moment: Moment) -> Named:
        # A copy: what other probes differentiate must stay as it is. Parameters need no gradient here.
        model = copy.deepcopy(moment.model).requires_grad_(False)
        taken, output_KRBH = paths(model, moment.batch, moment.passage)
        loss = moment.task.losses(model.readout(output_KRBH), moment.batch).sum()
        return joined((path.call, _of_call(path, loss)) for path in taken)


def _of_call(path: Path, loss: Tensor) -> Named:
    along, cell, result = AllSteps.of(path), path.call.cell, Named()
    with torch.no_grad():
        gates = cell.gates(along.input_RNI, along.state)
    for name, gate_RNH in gates.items():
        figures = along.means("mean", gate_RNH) | _quantiles(along.apart(gate_RNH, absent=torch.nan))
        result |= prefixed(f"{name}.", figures)
    for state, factor_RNH in cell.kept(gates).items():
        length_RH = 1 / (1 - along.unit_means(factor_RNH))
        figures = {"memory_length": length_RH, "memory_length_median": length_RH.median(-1).values}
        figures |= _straight(loss, path.made(state), along.apart(factor_RNH, absent=1.0), path.call.mask_TRB)
        result |= prefixed(f"{state}.", figures)
    return result


def _quantiles(gate_RTBH: Tensor) -> Named:
    return {"quantiles": quantiles(gate_RTBH.flatten(1)), "quantiles_at_step": quantiles(gate_RTBH.flatten(2))}


def quantiles(values: Tensor) -> Tensor:
    """(..., Q) of (..., N): at LEVELS of the ordered values that are not NaN, interpolated linearly."""
    # NumPy sorts float32 a hundred times as fast as torch does, and NaN to the end.
    ordered = np.sort(values.cpu().numpy(), axis=-1)
    count = values.shape[-1] - values.isnan().sum(-1, keepdim=True).cpu().numpy()
    place = np.array(LEVELS) * np.maximum(count - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(ordered, at, axis=-1).astype(np.float64) for at in (below, above))
    return torch.from_numpy(low + (place - below) * (high - low)).to(values.device)


def _straight(loss: Tensor, made_TRBH: list[Tensor], gate_RTBH: Tensor, mask_TRB: Tensor | None) -> Named:
    (v_RBH,) = torch.autograd.grad(loss, made_TRBH[-1], retain_graph=True)
    gradient_TRBH = torch.stack(torch.autograd.grad(made_TRBH[-1], made_TRBH, v_RBH, retain_graph=True)).double()
    straight = [v_RBH.double()]
    for gate_RBH in reversed(gate_RTBH.unbind(1)[1:]):
        straight.append(straight[-1] * gate_RBH)
    straight_TRBH = torch.stack(straight[::-1])
    rest, direct, whole, v = (
        torch.linalg.vector_norm(x, dim=-1)
        for x in (gradient_TRBH - straight_TRBH, straight_TRBH, gradient_TRBH, straight_TRBH[-1])
    )
    share, straight_gain, gain = (
        (x if mask_TRB is None else x.masked_fill(~mask_TRB, torch.nan)).nanmean(-1).T
        for x in (direct / (direct + rest), direct / v, whole / v)
    )
    return {
        "straight_share": share.nanmean(-1),
        "straight_share_at_step": share,
        "straight_gain_at_step": straight_gain,
        "gain_at_step": gain,
    }
