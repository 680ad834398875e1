"""Laws of gradient noise."""

import torch
from torch import Tensor

from rnnlab.laws.ground import uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject


def _noisy(subject: Subject, seeds: list[int], step: int, given: list[Tensor]) -> list[Tensor]:
    gradients = [g.clone() for g in given]
    subject.make()(gradients, seeds, step)
    return gradients


@observed("gradient_noise")
def _noise(subject: Subject) -> list[Tensor]:
    zero = [torch.zeros(1, 3, 4)]
    return [*_noisy(subject, [0], 1, zero), *_noisy(subject, [0], 2, zero)]


@law("gradient_noise")
def a_replica_s_noise_is_that_of_its_seed_and_step(subject: Subject) -> None:
    given = [uniform(3, 3, 4, seed=1), uniform(3, 1, 5, seed=2)]
    before = torch.get_rng_state()
    together = _noisy(subject, [4, 1, 7], 3, given)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for r, seed in enumerate([4, 1, 7]):
        alone = _noisy(subject, [seed], 3, [g[r : r + 1] for g in given])
        for mine, many in zip(alone, together, strict=True):
            hold_same(mine, many[r : r + 1], f"the noise of seed {seed} alone, and in a population")
