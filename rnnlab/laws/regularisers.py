"""Laws of regularisers.

T time, R replica, B batch, H hidden.
"""

import torch
from torch import Tensor

from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Cell
from rnnlab.laws.company import cells_for, company_of, experiment_with
from rnnlab.laws.ground import drawn_cell, right_aligned_mask, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import NotConcernedError, hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.regularisers.regulariser import NEEDS, Regulariser
from rnnlab.training.prepare import prepare

T, R, B = 6, 2, 3


def _inputs(replicas: int = R) -> Tensor:
    return uniform(T, replicas, B, 3, seed=1)


def passage_of(cell: Cell, inputs: Tensor, mask: Tensor | None) -> Passage:
    """One call of a cell, with everything kept that a regulariser may look at."""
    passage = Passage(autograd_engine("laws", vectors=True), scored=1, mask_TRB=mask, whole=True)
    passage("cell", cell, inputs)
    return passage


def penalty(regulariser: Regulariser, cell: Cell, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """(R,): what is added to each replica's mean loss, here the square of the last output."""
    passage = passage_of(cell, inputs, mask)
    before_R = regulariser.before(passage)
    if "adjoints" not in regulariser.needs:
        return before_R
    passage.calls[0].unrolled.output_KRBH[-1].square().sum().backward(retain_graph=True)
    after_R = regulariser.after(passage)
    assert after_R is not None
    return after_R


@observed("regulariser")
def _gradients(subject: Subject) -> list[Tensor]:
    made, found = subject.make(), list[Tensor]()
    for option in cells_for(subject):
        cell = drawn_cell(option, replicas=R)
        passage = passage_of(cell, _inputs(), None)
        output = passage.calls[0].unrolled.output_KRBH
        (output[-1].square().sum() + B * made.before(passage).sum()).backward()
        made.after(passage)
        found += [p.grad for p in cell.parameters() if p.grad is not None]
    return found if not made.updates_at_first else [*found, *_prepared(subject)]


def _prepared(subject: Subject) -> list[Tensor]:
    """The parameters that training begins with."""
    experiment = experiment_with(subject)
    return list(prepare(experiment, experiment.model([0]), [0]).parameters())


@law("regulariser")
def it_needs_what_there_is(subject: Subject) -> None:
    needs = subject.make().needs
    hold(set(needs) <= set(NEEDS), f"it needs {needs}; there are {NEEDS}")


@law("regulariser")
def a_penalty_s_gradient_passes_finite_differences(subject: Subject) -> None:
    """But for one that needs adjoints, whose gradient is an immediate one, with those held."""
    made, eps = subject.make(), 1e-6
    if "adjoints" in made.needs or not made.acts:
        raise NotConcernedError
    for mask in (None, right_aligned_mask(T, R, B)):
        cell = drawn_cell(company_of(subject).cell, replicas=R)
        names, parameters = zip(*cell.named_parameters(), strict=True)
        total = penalty(made, cell, _inputs(), mask).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
            at = (1, *(size // 2 for size in parameter.shape[1:]))
            values = []
            for change in (eps, -2 * eps, eps):
                parameter.data[at] += change
                values.append(penalty(made, cell, _inputs(), mask).detach())
            found = torch.zeros(()) if gradient is None else gradient[at]
            expected = (values[0] - values[1]).sum() / (2 * eps)
            torch.testing.assert_close(
                found.double(), expected, rtol=2e-5, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}"
            )


@law("regulariser")
def a_replica_s_penalty_is_its_own(subject: Subject) -> None:
    made, cell = subject.make(), drawn_cell(company_of(subject).cell, replicas=R)
    together = penalty(made, cell, _inputs())
    hold(together.shape == (R,), f"it is {tuple(together.shape)} for {R} replicas")
    for r in range(R):
        alone = drawn_cell(company_of(subject).cell)
        with torch.no_grad():
            for mine, many in zip(alone.parameters(), cell.parameters(), strict=True):
                mine.copy_(many[r : r + 1])
        found = penalty(made, alone, _inputs()[:, r : r + 1])
        hold_same(found, together[r : r + 1], f"the penalty of replica {r} alone, and in a population")
