"""The contribution probe: which time steps the gradient of the recurrent weights comes from.

R replica, T time, K scored step, B batch, H hidden, G gate rows.
"""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.reverse import steps_back
from rnnlab.contract import component
from rnnlab.probes.probe import Moment, Named


@component
class Contribution:
    """Of dL/dW = sum_t G_t, where G_t is what the use of the recurrent weights W at step t adds (Pascanu et al. 2013).

    Per step, (R, T), NaN where no example has it: `norm` |G_t|; `cosine` of G_t with the sum (NaN where one of them is
    zero); `share` <G_t, dL/dW> / |dL/dW|^2, which adds up to 1 and is below zero where a step pulls the other way.
    Per replica: `agreement` |sum_t G_t| / sum_t |G_t|, 1 where all steps pull the same way; `lag`, how many steps
    before the last the signal arises, the mean with weights |G_t|. Norms are Frobenius norms, L is the mean loss of
    the batch, before clipping, and the adjoint rule acts as it does in training.
    """

    needs: ClassVar[tuple[str, ...]] = ("recurrent",)

    def measure(self, moment: Moment) -> Named:
        cell, batch, cotangent_TRBH = moment.model.cell, moment.batch, _cotangent(moment)
        total = moment.gradients["cell.weight_recurrent"].double()
        T, R, B = cotangent_TRBH.shape[:3]
        norm_RT, product_RT = total.new_zeros(R, T), total.new_zeros(R, T)
        # One step's part at a time: all of them would be T times the weights.
        rule = moment.rule(moment.seeds)
        for back in steps_back(cell, batch.input, cotangent_TRBH, mask_TRB=batch.mask, rule=rule):
            part = back.parameters["weight_recurrent"].double() / B
            norm_RT[:, back.time] = part.flatten(1).norm(dim=1)
            product_RT[:, back.time] = (part * total).flatten(1).sum(1)
        return _figures(norm_RT, product_RT, total.flatten(1).norm(dim=1, keepdim=True), batch.mask)


def _cotangent(moment: Moment) -> Tensor:
    """(T, R, B, H): dL/d(output_t) of the summed loss, the later steps held fixed; zero where nothing is scored."""
    task, model, batch = moment.experiment.task, moment.model, moment.batch
    with torch.no_grad():
        unrolled = moment.experiment.engine.unroll(model.cell, batch.input, mask_TRB=batch.mask, last=task.scored)
    output_KRBH = unrolled.output_KRBH.detach().requires_grad_()
    loss = task.losses(model.readout(output_KRBH), batch).sum()
    (direct_KRBH,) = torch.autograd.grad(loss, output_KRBH)
    cotangent_TRBH = direct_KRBH.new_zeros(len(batch.input), *direct_KRBH.shape[1:])
    cotangent_TRBH[-task.scored :] = direct_KRBH
    return cotangent_TRBH


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
