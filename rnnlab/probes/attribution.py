"""The attribution probe: which input steps the prediction uses, and whether they are the right ones.

R replica, T time, K scored step, B batch, I input, O output, V direction.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from rnnlab import streams
from rnnlab.bptt.passage import batch_mean
from rnnlab.contract import component
from rnnlab.probes.probe import Moment, Named
from rnnlab.tasks.task import Marks

DIRECTIONS = 10
"""Backward passes at most. A digit's ten outputs are exact with so many."""


@component
class Attribution:
    """The norm |dy/dx_t| of the derivative of an example's scored outputs y, (K, O), by its input at step t, (I,).

    `norm` (R, T): mean over the examples that have the step, NaN where none has it. Of a task that marks the k steps
    that its answer depends on (`rnnlab.tasks.task.Marks`), also, per replica and as means over the examples:
    `precision_at_k`, the share of marked steps among the k steps of largest norm (which is their recall, too);
    `average_precision`, the mean over the marked steps of the precision among the steps down to each of them; `chance`,
    the precision at k of a random order. Among equal norms marked steps count as last: a net that uses nothing has
    found nothing.

    Norms are Frobenius norms, without any adjoint rule. With at most DIRECTIONS scored outputs they are exact; with
    more, |dy/dx_t|^2 is estimated by |d(v . y)/dx_t|^2, without bias, with DIRECTIONS random sign vectors v
    (Hutchinson 1990).
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def measure(self, moment: Moment) -> Named:
        task, batch = moment.task, moment.batch
        norm_TRB = _norms(moment)
        result = {"norm": batch_mean(norm_TRB.unsqueeze(0), batch.mask)[:, 0]}
        if isinstance(task, Marks):
            marked_TRB = task.marked(batch)
            there_TRB = torch.ones_like(marked_TRB) if batch.mask is None else batch.mask
            result |= _retrieval(norm_TRB, marked_TRB, there_TRB)
        return result


def _norms(moment: Moment) -> Tensor:
    """(T, R, B) float64."""
    input_TRBI = moment.batch.input.detach().clone().requires_grad_()
    batch = replace(moment.batch, input=input_TRBI)
    square_TRB = input_TRBI.new_zeros(input_TRBI.shape[:3], dtype=torch.float64)
    for direction_RKBO in _directions(moment):
        # Anew for each: the fused engine's graph can be differentiated once.
        along = (moment.model(batch, moment.passage()) * direction_RKBO).sum()
        (derivative_TRBI,) = torch.autograd.grad(along, input_TRBI)
        square_TRB += derivative_TRBI.double().square().sum(-1)
    return square_TRB.sqrt()


def _directions(moment: Moment) -> Iterator[Tensor]:
    """V directions (R, K, B, O) whose squared derivatives add up to the squared norm: unit vectors, or random signs."""
    task, input_TRBI = moment.task, moment.batch.input
    shape_KBO = (task.scored, input_TRBI.shape[2], task.outputs)
    outputs = task.scored * task.outputs
    if outputs <= DIRECTIONS:
        yield from torch.eye(outputs).to(input_TRBI).view(outputs, 1, task.scored, 1, task.outputs)
        return
    device = input_TRBI.device
    generators = [streams.generator(seed, "attribution", moment.step, device) for seed in moment.seeds]
    for _ in range(DIRECTIONS):
        drawn = [torch.randint(2, shape_KBO, generator=g, device=device) for g in generators]
        yield (2 * torch.stack(drawn) - 1).to(input_TRBI) / DIRECTIONS**0.5


def _retrieval(norm_TRB: Tensor, marked_TRB: Tensor, there_TRB: Tensor) -> Named:
    """How well the order of the norms finds the marked steps; NaN where an example's norms are."""
    relevance_TRB = norm_TRB.masked_fill(~there_TRB, -1)
    last_TRB = marked_TRB.byte().argsort(dim=0, stable=True)
    falling_TRB = relevance_TRB.gather(0, last_TRB).argsort(dim=0, descending=True, stable=True)
    hit_TRB = marked_TRB.gather(0, last_TRB.gather(0, falling_TRB)).double()
    rank_T11 = torch.arange(1, len(hit_TRB) + 1, device=hit_TRB.device).view(-1, 1, 1)
    k_RB = marked_TRB.sum(0)
    found = {
        "precision_at_k": (hit_TRB * (rank_T11 <= k_RB)).sum(0) / k_RB,
        "average_precision": (hit_TRB * hit_TRB.cumsum(0) / rank_T11).sum(0) / k_RB,
    }
    broken_RB = norm_TRB.isnan().any(0)
    found = {name: value_RB.masked_fill(broken_RB, torch.nan) for name, value_RB in found.items()}
    found["chance"] = k_RB.double() / there_TRB.sum(0)
    return {name: value_RB.mean(1) for name, value_RB in found.items()}
