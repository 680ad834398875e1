"""The law of every member of every group: it trains, and a replica trains as it would alone."""

import torch
from torch import Tensor

from rnnlab.experiment import Experiment
from rnnlab.groups import COMPONENTS
from rnnlab.laws.company import experiment_with
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population
from rnnlab.training.prepare import prepare
from rnnlab.training.prober import Prober
from rnnlab.training.step import training_step

SEEDS = [4, 1, 7]


@law(*COMPONENTS)
def a_replica_trains_as_alone_to_the_bit(subject: Subject) -> None:
    experiment, before = experiment_with(subject), torch.get_rng_state()
    fresh = Population(experiment.model(SEEDS), SEEDS, experiment.optimiser, experiment.clipping)
    together, alone = _trained(experiment, SEEDS), _trained(experiment, SEEDS[1:2])
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for name, value in alone.items():
        hold_same(together[name][1:2], value, f"{name} of seed {SEEDS[1]} in a population, and alone")
        hold(torch.isfinite(value).all(), f"{name} is not finite after two steps")
    moved = [not torch.equal(together[n], p) for n, p in zip(fresh.names, fresh.stacked, strict=True)]
    hold(any(moved), "no parameter moves")


def _trained(experiment: Experiment, seeds: list[int]) -> dict[str, Tensor]:
    """Parameters, and losses, (R, ...), after two steps."""
    model = prepare(experiment, experiment.model(seeds), seeds)
    trained = Population(model, seeds, experiment.optimiser, experiment.clipping)
    prober, losses = Prober(experiment, seeds), []
    for step in (1, 2):
        batch = stack([experiment.task.training_batch(seed, step) for seed in seeds])
        batch = batch.to(experiment.device, experiment.dtype)
        losses.append(training_step(experiment, trained, prober, batch, step).loss_R)
    parameters = {name: p.detach() for name, p in zip(trained.names, trained.stacked, strict=True)}
    return {**parameters, "the loss": torch.stack(losses, dim=1)}
