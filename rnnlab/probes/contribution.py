"""The contribution probe: which time steps the gradient of the recurrent weights comes from.

R replica, T time, K scored step, B batch, H hidden, G gate rows.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.bptt.reverse import steps_back
from rnnlab.cells.cell import State
from rnnlab.contract import component
from rnnlab.plan import Plan, Refusal
from rnnlab.probes.probe import Moment, Named, joined


@component
class Contribution:
    """Of dL/dW = sum_t G_t, where G_t is what the use of the recurrent weights W at step t adds (Pascanu et al. 2013).

    Per step, (R, T), NaN where no example has it: `norm` |G_t|; `cosine` of G_t with the sum (NaN where one of them is
    zero); `share` <G_t, dL/dW> / |dL/dW|^2, which adds up to 1 and is below zero where a step pulls the other way.
    Per replica: `agreement` |sum_t G_t| / sum_t |G_t|, 1 where all steps pull the same way; `lag`, how many steps
    before the last the signal arises, the mean with weights |G_t|. Norms are Frobenius norms, L is the mean loss of
    the batch, before clipping, and the adjoint rule acts as it does in training.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.recurrent else f"{plan.chosen('cell')} has no recurrent weights"

    def measure(self, moment: Moment) -> Named:
        return joined((call, _of_call(moment, call, direct, end)) for call, direct, end in _directs(moment))


def _of_call(moment: Moment, call: Call, cotangent_TRBH: Tensor, end: State) -> Named:
    total = moment.gradients[f"{call.name}.weight_recurrent"].double()
    T, R = cotangent_TRBH.shape[:2]
    B = moment.batch.input.shape[2]
    norm_RT, product_RT = total.new_zeros(R, T), total.new_zeros(R, T)
    # One step's part at a time: all of them would be T times the weights.
    rule, input_TRBI = moment.rule(call.input_TRBI), call.input_TRBI.detach()
    start, mask_TRB = call.start(), call.mask_TRB
    way = steps_back(call.cell, input_TRBI, cotangent_TRBH, state=start, mask_TRB=mask_TRB, rule=rule, end=end)
    for back in way:
        part = back.parameters["weight_recurrent"].double() / B
        norm_RT[:, back.time] = part.flatten(1).norm(dim=1)
        product_RT[:, back.time] = (part * total).flatten(1).sum(1)
    return _figures(norm_RT, product_RT, total.flatten(1).norm(dim=1, keepdim=True), call.mask_TRB)


def _directs(moment: Moment) -> Iterator[tuple[Call, Tensor, State]]:
    """Of every call, dL/d(output_t) of the summed loss with the call's own later steps held fixed, (T, R, B, H).

    And likewise of the state that it ends in, where another call starts from it.
    """
    passage = moment.passage()
    loss = moment.task.losses(moment.model(moment.batch, passage), moment.batch).sum()
    ways = [tensor for call in passage.calls for tensor in (call.unrolled.output_KRBH, *call.unrolled.state)]
    directs = iter(torch.autograd.grad(loss, ways, allow_unused=True, materialize_grads=True))
    for call in passage.calls:
        direct_KRBH, *end = (next(directs) for _ in (0, *call.unrolled.state))
        cotangent_TRBH = direct_KRBH.new_zeros(len(call.input_TRBI), *direct_KRBH.shape[1:])
        cotangent_TRBH[-len(direct_KRBH) :] = direct_KRBH
        yield call, cotangent_TRBH, tuple(end)


def _figures(norm_RT: Tensor, product_RT: Tensor, total_R1: Tensor, mask_TRB: Tensor | None) -> Named:
    sum_R1 = norm_RT.sum(1, keepdim=True)
    lag_T = torch.arange(norm_RT.shape[1], device=norm_RT.device).flip(0)
    curves = {
        "norm": norm_RT,
        "cosine": product_RT / (norm_RT * total_R1),
        "share": product_RT / total_R1.square(),
    }
    if mask_TRB is not None:
        nobody_RT = ~mask_TRB.any(-1).T
        curves = {name: value.masked_fill(nobody_RT, torch.nan) for name, value in curves.items()}
    return curves | {"agreement": (total_R1 / sum_R1)[:, 0], "lag": (norm_RT * lag_T / sum_R1).sum(1)}
