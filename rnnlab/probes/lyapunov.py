"""The lyapunov probe: the rates at which small changes of the state grow or fade per step.

T time, R replica, S state component, B batch, N values, K exponents, D state width (all components side by side).
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call, Recorded
from rnnlab.contract import BelowOne, Count, Repeats, component
from rnnlab.plan import Plan, Refusal
from rnnlab.probes.probe import Moment, Named, prefixed
from rnnlab.probes.trajectory import Trajectory, random_frame
from rnnlab.runs.adjoints import summarise


@component
class Lyapunov:
    """The K largest Lyapunov exponents, by QR along trajectories of the batch, and the adjoint slope they predict.

    A random orthonormal frame is carried back from the last step by the transposed Jacobians and made orthonormal again
    at every step; the exponents are the mean logarithms of what that takes out (Benettin et al. 1980). Sweeping back
    gives the spectrum that sweeping forward gives, and its first column goes the way of an adjoint. Steps
    at both ends do not count (`warm_up`): in the last ones the frame turns to its directions, in the first ones the
    state leaves 0. Nor do steps that an example does not have.

    - `exponents` and `standard_error` (R, K): nats per step, falling; `exponents_decades` (R, K): the same in decades.
      The error is that of a mean of independent values, one per time block and example. A trajectory that does not stay
      finite is left out. A step that is singular to rounding (dead ReLUs) gives exponents of -36 or less: read -inf.
    - `largest` (R,): the first exponent, in nats per step.
    - `kaplan_yorke` (R,): the dimension j + (l_1 + ... + l_j) / |l_{j+1}| (Kaplan & Yorke 1979); NaN where K exponents
      are too few to tell, as when their sum is not negative.
    - `slope_predicted`, `slope_standard_error` (R,): -l_1 / ln 10, decades per step forward in t. (Of a cell that takes
      every d-th step of the sequence, l_1 is per step of its own: divided by d here.)
    - `h.slope_measured` and the like (R,), by state component: the slope of an example's adjoint norms at this
      training step, over the time steps that count, mean over the batch. (The metrics have the slope of the batch's
      mean norm, over all steps. That mean belongs to the largest: in a chaotic net it grows faster than a typical one.)

    Predicted and measured meet where the loss is at the last step. Losses on the way add adjoints that have come less
    far, and adjoint rules change the measured alone.

    See Engelken, Wolf & Abbott 2020 and Vogt et al. 2020 on recurrent nets.

    A measurement as its YAML has it takes 0.04 s for an Elman net, 0.09 s for a GRU and 0.12 s for an LSTM (H=128,
    T=100, B=50, one replica, one thread).

    Args:
        exponents: K; fewer where the state has fewer dimensions.
        examples: of the batch, evenly spread; all, if it has fewer.
        warm_up: share of an example's steps that do not count, in [0, 1), half of them at each end.
        blocks: of time, for the standard error; at most 1000.
    """

    exponents: Count
    examples: Count
    warm_up: BelowOne
    blocks: Repeats

    needs: ClassVar[tuple[str, ...]] = ("adjoints",)

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.states else f"{plan.chosen('cell')} takes no steps"

    def measure(self, moment: Moment) -> Named:
        assert moment.adjoints is not None
        result, adjoints = Named(), {recorded.prefix: recorded for recorded in moment.adjoints}
        for call in moment.calls:
            measured = _measured_slopes(adjoints[call.prefix], self.warm_up, call.input_TRBI.dtype)
            figures = self._of_call(moment, call) | measured
            result |= prefixed(call.prefix, figures)
        return result

    def _of_call(self, moment: Moment, call: Call) -> Named:
        trajectory = Trajectory(moment, call, self.examples)
        D = trajectory.before_TRBD.shape[-1]
        growth_TRBK = _growth(trajectory, random_frame(moment, trajectory, min(self.exponents, D)))
        steps_TRB, blocks = _steps_that_count(trajectory.live_TRB, self.warm_up, self.blocks)
        mean_RK = _mean(growth_TRBK, steps_TRB).nanmean(1)
        error_RK = _standard_error(torch.cat([_mean(growth_TRBK, block_TRB) for block_TRB in blocks], dim=1))
        error_RK = error_RK.where(mean_RK.isfinite(), math.nan)
        exponents_RK, order_RK = mean_RK.sort(dim=1, descending=True)
        error_RK = error_RK.gather(1, order_RK)
        return {
            "exponents": exponents_RK,
            "standard_error": error_RK,
            "exponents_decades": exponents_RK / math.log(10),
            "largest": exponents_RK[:, 0],
            "kaplan_yorke": kaplan_yorke(exponents_RK, D),
            "slope_predicted": -exponents_RK[:, 0] / math.log(10) / call.stride,
            "slope_standard_error": error_RK[:, 0] / math.log(10) / call.stride,
        }


def kaplan_yorke(exponents_RK: Tensor, width: int) -> Tensor:
    """(R,) the Kaplan-Yorke dimension of a system with `width` exponents, of which the largest are given, falling."""
    K = exponents_RK.shape[1]
    sums_RK = exponents_RK.cumsum(1)
    whole_R = (sums_RK >= 0).sum(1)
    next_R1 = whole_R.clamp(max=K - 1).unsqueeze(1)
    sum_R = sums_RK.gather(1, (next_R1 - 1).clamp(min=0)).squeeze(1).where(whole_R > 0, 0.0)
    dimension_R = whole_R + sum_R / exponents_RK.gather(1, next_R1).squeeze(1).abs()
    return dimension_R.where(whole_R < K, float(K) if width == K else math.nan)


def _growth(trajectory: Trajectory, frame_RBDK: Tensor) -> Tensor:
    """log |R_kk| of every step, (T, R, B, K); NaN for a trajectory that is not finite."""
    growth = {t: factor.diagonal(dim1=-2, dim2=-1).abs().log() for t, factor in trajectory.sweep(frame_RBDK)}
    growth_TRBK = torch.stack([growth[t] for t in range(len(growth))])
    return growth_TRBK.where(trajectory.finite_RB.unsqueeze(-1), math.nan)


def _steps_that_count(live_TRB: Tensor, warm_up: float, blocks: int) -> tuple[Tensor, list[Tensor]]:
    """(T, R, B) bool: an example's own steps without those of the warm-up; and the same cut into blocks of time."""
    steps_RB = live_TRB.sum(0)
    skipped_RB = (warm_up / 2 * steps_RB).long()
    counting_RB = steps_RB - 2 * skipped_RB
    at_TRB = live_TRB.cumsum(0) - 1 - skipped_RB
    counts_TRB = live_TRB & (at_TRB >= 0) & (at_TRB < counting_RB)
    block_TRB = at_TRB * blocks // counting_RB.clamp(min=1)
    return counts_TRB, [counts_TRB & (block_TRB == block) for block in range(blocks)]


def _mean(growth_TRBK: Tensor, steps_TRB: Tensor) -> Tensor:
    """(R, B, K): over these steps; NaN where an example has none of them."""
    return growth_TRBK.where(steps_TRB.unsqueeze(-1), 0.0).sum(0) / steps_TRB.sum(0).unsqueeze(-1)


def _standard_error(values_RNK: Tensor) -> Tensor:
    """(R, K): of the mean over those of the N values that are not NaN; NaN where there is only one."""
    count_RK = (~values_RNK.isnan()).sum(1)
    squares_RK = (values_RNK - values_RNK.nanmean(1, keepdim=True)).square().nansum(1)
    return (squares_RK / (count_RK - 1) / count_RK).sqrt()


def _measured_slopes(adjoints: Recorded, warm_up: float, dtype: torch.dtype) -> Named:
    """(R,) per state component."""
    norm_STRB, mask_TRB = adjoints.norm_STRB, adjoints.mask_TRB
    live_TRB = torch.ones_like(norm_STRB[0], dtype=torch.bool) if mask_TRB is None else mask_TRB
    steps_TRB, _ = _steps_that_count(live_TRB, warm_up, blocks=1)
    norm_SRBT = norm_STRB.where(steps_TRB, math.nan).permute(0, 2, 3, 1)
    smallest = torch.finfo(dtype).tiny
    slopes = [summarise(norm_T, smallest).slope for norm_T in norm_SRBT.flatten(0, 2).cpu().numpy()]
    slope_SRB = torch.tensor(slopes, dtype=torch.float64, device=norm_SRBT.device).view(norm_SRBT.shape[:3])
    slope_SR = slope_SRB.nanmean(-1)
    return {f"{state}.slope_measured": slope_SR[s] for s, state in enumerate(adjoints.states)}
