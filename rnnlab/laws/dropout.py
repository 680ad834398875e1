"""Laws of dropout.

T time, R replica, B batch.
"""

import torch
from torch import Tensor

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.dropout.dropout import Dropout, Noise
from rnnlab.laws.company import cells_for, company_of
from rnnlab.laws.ground import drawn_cell, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import NotConcernedError, hold, hold_same, law
from rnnlab.laws.subject import Subject

T, R, B = 6, 3, 5
SEEDS = [4, 1, 7]


def _alike(option: str) -> tuple[Cell, Tensor]:
    """A cell whose replicas have the same parameters, and the same inputs for each."""
    cell = drawn_cell(option, replicas=R)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
    return cell, uniform(T, 1, B, 3, seed=1).expand(T, R, B, 3).contiguous()


def _outputs(dropout: Dropout, cell: Cell, inputs: Tensor, seeds: list[int], step: int = 1) -> Tensor:
    noise = Noise(seeds, step, inputs)
    dropped, seen = dropout.drop(cell, inputs, noise)
    return dropout.drop_outputs(unroll(dropped, seen).output_KRBH, noise)


@observed("dropout")
def _seen(subject: Subject) -> list[Tensor]:
    return [_outputs(subject.make(), *_alike(option), SEEDS) for option in cells_for(subject)]


@law("dropout")
def every_replica_and_training_step_has_masks_of_its_own(subject: Subject) -> None:
    dropout, (cell, inputs) = subject.make(), _alike(company_of(subject).cell)
    before = torch.get_rng_state()
    found = _outputs(dropout, cell, inputs, SEEDS)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    hold_same(_outputs(dropout, cell, inputs, SEEDS), found, "the same training step twice")
    swapped = _outputs(dropout, cell, inputs, [7, 1, 4])
    hold_same(swapped[:, 0], found[:, 2], "the replica of seed 7 as first and as last")
    if torch.equal(found, unroll(cell, inputs).output_KRBH):
        raise NotConcernedError  # it drops nothing
    hold(not torch.equal(found, _outputs(dropout, cell, inputs, SEEDS, step=2)), "two training steps have one mask")
    hold(not torch.allclose(found[:, 0], found[:, 1]), "two replicas have one mask")


@law("dropout")
def evaluation_drops_nothing_at_random(subject: Subject) -> None:
    dropout, (cell, inputs) = subject.make(), _alike(company_of(subject).cell)
    first, second = (unroll(dropout.expected(cell), inputs).output_KRBH for _ in range(2))
    hold_same(first, second, "two evaluations")
    hold_same(first[:, 1], first[:, 0], "two replicas with the same parameters")


@law("dropout")
def acting_within_a_step_is_told(subject: Subject) -> None:
    dropout, (cell, inputs) = subject.make(), _alike(company_of(subject).cell)
    other = dropout.drop(cell, inputs, Noise(SEEDS, 1, inputs))[0] is not cell
    hold(not other or dropout.within, "it gives another cell, and says that it does not act within a step")
