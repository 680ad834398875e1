"""Laws of optimisers.

R replica.
"""

import itertools
from typing import Any

import torch
from torch import Tensor

from rnnlab.clipping.none import NoClipping
from rnnlab.contract import ConfigError
from rnnlab.laws.ground import drawn_cell, net_of, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.training.population import Population

HEALTHY = torch.tensor([True, True])
RATES = (0.01, 0.1, 1.0, 10.0)


@observed("optimiser")
def _parameters(subject: Subject) -> list[Tensor]:
    trained = Population(net_of(drawn_cell("rnn"), outputs=2).double(), [0], subject.make(), NoClipping())
    for step in range(7):  # more than RAdam's first ones
        scale = 10.0 ** (-step)
        gradients = [uniform(*p.shape, seed=10 * step + k, bound=scale) for k, p in enumerate(trained.stacked)]
        trained.step(gradients, torch.tensor([True]), 1.0)
    return trained.backup()


def _population(subject: Subject, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Population:
    model = net_of(drawn_cell("rnn", replicas=len(seeds)), outputs=1).double()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=50 + k))
    return Population(model, list(seeds), subject.changed(**changes).make(), NoClipping())


def _gradients(trained: Population) -> list[Tensor]:
    """Of half the squared distance from 3."""
    return [p.detach() - 3.0 for p in trained.stacked]


@law("optimiser")
def it_goes_down_a_quadratic(subject: Subject) -> None:
    tried = {}
    for rate in RATES:
        try:
            trained = _population(subject, lr=rate)
        except ConfigError:  # a rate that it does not take
            continue
        tried[rate] = []
        for _ in range(13):
            tried[rate].append(sum(g.square().sum().item() for g in _gradients(trained)))
            trained.step(_gradients(trained), HEALTHY, 1.0)
        falls = all(later < earlier for earlier, later in itertools.pairwise(tried[rate]))
        if falls and tried[rate][-1] < 0.95 * tried[rate][0]:
            return
    hold(False, f"squared distances by learning rate: {tried}")


@law("optimiser")
def recurrent_lr_factor_zero_leaves_the_recurrent_weights_and_nothing_else(subject: Subject) -> None:
    trained = _population(subject, recurrent_lr_factor=0.0)
    before = trained.backup()
    for _ in range(3):
        trained.step(_gradients(trained), HEALTHY, 1.0)
    for name, old, new in zip(trained.names, before, trained.stacked, strict=True):
        still = torch.equal(old, new)
        hold(still == (name == "cell.weight_recurrent"), f"{name} {'stays' if still else 'moves'}")


@law("optimiser")
def a_step_is_proportional_to_the_learning_rate_and_the_schedule_s_factor(subject: Subject) -> None:
    moves = []
    for lr, factor in ((0.01, 1.0), (0.02, 0.5), (0.01, 0.0)):
        trained = _population(subject, lr=lr)
        before = trained.backup()
        trained.step(_gradients(trained), HEALTHY, factor)
        moves.append([new.detach() - old for old, new in zip(before, trained.stacked, strict=True)])
    for full, halved, none in zip(*moves, strict=True):
        torch.testing.assert_close(full, halved, rtol=1e-12, atol=1e-15)
        hold((full != 0).all(), "something stays at a rate of 0.01")
        hold((none == 0).all(), "something moves at a factor of 0")


@law("optimiser")
def an_unhealthy_replica_stays_and_the_other_is_as_alone(subject: Subject) -> None:
    trained = _population(subject)
    before = trained.backup()
    for first in (False, True, True):  # once unhealthy, always unhealthy
        healthy_R = trained.step(_gradients(trained), torch.tensor([first, True]), 1.0)
        hold(healthy_R.tolist() == [False, True], f"healthy are {healthy_R.tolist()}")
    solo = _population(subject, seeds=(1,))
    with torch.no_grad():
        for one, many in zip(solo.stacked, before, strict=True):
            one.copy_(many[1:])
    for _ in range(3):
        solo.step(_gradients(solo), torch.tensor([True]), 1.0)
    for name, old, new, alone in zip(trained.names, before, trained.stacked, solo.stacked, strict=True):
        hold_same(new[0], old[0], f"{name} of the unhealthy replica, and before")
        hold_same(alone[0], new[1], f"{name} of the other alone, and beside it")
