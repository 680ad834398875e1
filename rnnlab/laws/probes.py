"""Laws of probes.

R replica.
"""

import copy
import functools

import torch
from torch import Tensor

from rnnlab.experiment import Experiment
from rnnlab.laws.company import experiment_with, moment_of
from rnnlab.laws.ground import leaf
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.probes.probe import NEEDS, Moment, Named
from rnnlab.timetable import Timetable

SEEDS = [4, 1]


@functools.lru_cache(maxsize=8)
def _moment(target: str, seeds: tuple[int, ...]) -> Moment:
    """Made once for a probe: that it leaves it as it is is a law."""
    return moment_of(_EXPERIMENTS[target], steps=2, seeds=list(seeds))


_EXPERIMENTS: dict[str, Experiment] = {}


def moment(subject: Subject, seeds: list[int] = SEEDS) -> Moment:
    """The second training step of a run in which the probe has something to look at."""
    if subject.target not in _EXPERIMENTS:
        xavier = leaf("initialiser", "xavier")
        _EXPERIMENTS[subject.target] = experiment_with(subject, dtype="float64", initialiser=xavier)
    return _moment(subject.target, tuple(seeds))


@observed("probes")
def _figures(subject: Subject) -> list[Tensor]:
    steps = torch.tensor([Timetable.of(subject.config).due(step) for step in range(1, 1101)])
    return [steps, *(value for _, value in sorted(_measured(subject).items()))]


def _measured(subject: Subject, seeds: list[int] = SEEDS) -> Named:
    return subject.make().measure(moment(subject, seeds))


@law("probes")
def it_needs_what_there_is(subject: Subject) -> None:
    needs = subject.make().needs
    hold(set(needs) <= set(NEEDS), f"it needs {needs}; there are {NEEDS}")


@law("probes")
def it_measures_every_replica(subject: Subject) -> None:
    found = _measured(subject)
    hold(found, "it finds nothing")
    for name, value in found.items():
        hold(value.ndim > 0 and len(value) == len(SEEDS), f"{name} is {tuple(value.shape)} for {len(SEEDS)} replicas")
    hold(any(value.isfinite().any() for value in found.values()), "nothing that it finds is finite")


@law("probes")
def measuring_leaves_everything_as_it_was(subject: Subject) -> None:
    taken = moment(subject)
    before, parameters = torch.get_rng_state(), copy.deepcopy(dict(taken.model.named_parameters()))
    gradients = {name: gradient.clone() for name, gradient in taken.gradients.items()}
    first = _measured(subject)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for name, parameter in taken.model.named_parameters():
        hold_same(parameter, parameters[name], f"the parameter {name} after it, and before")
    for name, gradient in taken.gradients.items():
        hold_same(gradient, gradients[name], f"the gradient of {name} after it, and before")
    second = _measured(subject)
    hold(first.keys() == second.keys(), f"{sorted(first)} at first, then {sorted(second)}")
    for name, value in first.items():
        hold_same(second[name], value, f"{name} measured twice")


@law("probes")
def it_finds_of_a_replica_what_it_finds_of_it_alone(subject: Subject) -> None:
    together = _measured(subject)
    for r, seed in enumerate(SEEDS):
        for name, value in _measured(subject, [seed]).items():
            torch.testing.assert_close(
                value, together[name][r : r + 1], rtol=1e-6, atol=1e-9, equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )  # fmt: skip
