"""Laws of every member of every group: it trains, a replica as it would alone, and a run as if it had not stopped."""

import io

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
    together, alone = _Training(experiment, SEEDS), _Training(experiment, SEEDS[1:2])
    together.steps(1, 2)
    alone.steps(1, 2)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for name, value in alone.values().items():
        hold_same(together.values()[name][1:2], value, f"{name} of seed {SEEDS[1]} in a population, and alone")
        hold(torch.isfinite(value).all(), f"{name} is not finite after two steps")
    moved = [not torch.equal(together.values()[n], p) for n, p in zip(fresh.names, fresh.stacked, strict=True)]
    hold(any(moved), "no parameter moves")


@law(*COMPONENTS)
def a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(subject: Subject) -> None:
    whole, resumed = (_Training(experiment_with(subject), SEEDS) for _ in range(2))
    whole.steps(1)
    resumed.go_on_from(whole)
    whole.steps(2)
    resumed.steps(2)
    for name, value in whole.values().items():
        hold_same(resumed.values()[name], value, f"{name} after a checkpoint, and without")


class _Training:
    """Steps of a population."""

    def __init__(self, experiment: Experiment, seeds: list[int]) -> None:
        self.experiment, self.seeds = experiment, seeds
        model = prepare(experiment, experiment.model(seeds), seeds)
        self.population = Population(model, seeds, experiment.optimiser, experiment.clipping)
        self.prober, self.loss_R = Prober(experiment, seeds), torch.empty(0)

    def steps(self, *numbers: int) -> None:
        for step in numbers:
            batch = stack([self.experiment.task.training_batch(seed, step) for seed in self.seeds])
            batch = batch.to(self.experiment.device, self.experiment.dtype)
            self.loss_R = training_step(self.experiment, self.population, self.prober, batch, step).loss_R

    def go_on_from(self, other: "_Training") -> None:
        """By what a checkpoint's file keeps of another."""
        written = io.BytesIO()
        torch.save([other.population.state_dict(), other.prober.state_dict()], written)
        population, prober = torch.load(io.BytesIO(written.getvalue()), weights_only=True)
        self.population.load_state_dict(population)
        self.prober.load_state_dict(prober, self.population)

    def values(self) -> dict[str, Tensor]:
        """Parameters, and the last step's loss, (R, ...)."""
        parameters = zip(self.population.names, self.population.stacked, strict=True)
        return {**{name: p.detach() for name, p in parameters}, "the loss": self.loss_R}
