"""Laws of adjoint rules.

T time, R replica, B batch.
"""

import torch
from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt.reverse import reverse_sweep
from rnnlab.bptt.unroll import unroll
from rnnlab.laws.cells import CLOSE
from rnnlab.laws.company import cells_for, company_of
from rnnlab.laws.ground import drawn_cell, right_aligned_mask, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject

T, B = 45, 2


def _drawn(subject: Subject, seeds: list[int], inputs: Tensor) -> AdjointRule:
    return subject.make().draw(seeds, 1, len(inputs), inputs)


def _norms(subject: Subject, option: str, seeds: list[int]) -> Tensor:
    """(S, T, R, B), of replicas with a parameter set for each seed."""
    made = [drawn_cell(option, "identity", bound=1.5, seed=seed) for seed in seeds]
    cell = drawn_cell(option, "identity", replicas=len(seeds))
    with torch.no_grad():
        for parameter, *ones in zip(cell.parameters(), *(one.parameters() for one in made), strict=True):
            parameter.copy_(torch.cat(ones))
    inputs = torch.cat([uniform(T, 1, B, 3, seed=1 + seed) for seed in seeds], dim=1)
    unrolled = unroll(cell, inputs, rule=_drawn(subject, seeds, inputs), record=True, last=1)
    unrolled.output_KRBH.sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    return unrolled.adjoint_norm_STRB


@observed("adjoint")
def _of_one(subject: Subject) -> list[Tensor]:
    return [_norms(subject, option, [0]) for option in cells_for(subject)]


@law("adjoint")
def it_is_drawn_for_each_replica_from_its_seed(subject: Subject) -> None:
    option, before = company_of(subject).cell, torch.get_rng_state()
    together = _norms(subject, option, [4, 1, 7])
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for r, seed in enumerate([4, 1, 7]):
        hold_same(
            _norms(subject, option, [seed])[:, :, 0], together[:, :, r], f"adjoint norms of seed {seed} alone, and not"
        )


@law("adjoint")
def gradients_and_adjoints_agree_with_the_oracle(subject: Subject) -> None:
    cell = drawn_cell(company_of(subject).cell, replicas=2)
    inputs, cotangent = uniform(T, 2, B, 3, seed=1).requires_grad_(), uniform(T, 2, B, 4, seed=2)
    mask, rule = right_aligned_mask(T, 2, B), _drawn(subject, [4, 1], inputs)
    unrolled = unroll(cell, inputs, mask_TRB=mask, rule=rule, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()
    swept = reverse_sweep(cell, inputs, cotangent, mask_TRB=mask, rule=rule)
    torch.testing.assert_close(unrolled.adjoint_norm_STRB, swept.norms(), **CLOSE)
    for name, parameter in cell.named_parameters():
        torch.testing.assert_close(parameter.grad, swept.parameters[name], **CLOSE)


@law("adjoint")
def it_changes_gradients_and_no_outputs(subject: Subject) -> None:
    cell, inputs = drawn_cell(company_of(subject).cell), uniform(T, 1, B, 3, seed=1)
    found = unroll(cell, inputs, rule=_drawn(subject, [0], inputs)).output_KRBH
    hold_same(found, unroll(cell, inputs).output_KRBH, "outputs with the rule, and without")
