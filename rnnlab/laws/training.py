"""Laws of every member of every group: it trains, a replica as it would alone, and a run as if it had not stopped."""

import torch
from torch import Tensor

from rnnlab.experiment import Experiment
from rnnlab.groups import COMPONENTS
from rnnlab.laws.company import experiment_with
from rnnlab.laws.ground import from_file
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population
from rnnlab.training.prepare import prepare
from rnnlab.training.prober import Prober
from rnnlab.training.step import training_step
from rnnlab.training.step_record import StepRecord

SEEDS = [4, 1, 7]
NORMS = "the adjoint norm"


@law(*COMPONENTS)
def a_replica_trains_as_alone_to_the_bit(subject: Subject) -> None:
    experiment, before = experiment_with(subject), torch.get_rng_state()
    fresh = Population(experiment.model(SEEDS), SEEDS, experiment.optimiser, experiment.clipping)
    together, alone = (_Training(experiment, seeds).steps(1, 2) for seeds in (SEEDS, SEEDS[1:2]))
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for name, value in alone.items():
        hold_same(together[name][1:2], value, f"{name} of seed {SEEDS[1]} in a population, and alone")
        # NaN: at a step that no example has, that a slow cell has not reached, or beyond a call of fewer steps.
        there = value[~value.isnan()] if name == NORMS else value
        hold(torch.isfinite(there).all(), f"{name} is not finite after two steps")
    moved = [not torch.equal(together[n], p) for n, p in zip(fresh.names, fresh.stacked, strict=True)]
    hold(any(moved), "no parameter moves")


@law(*COMPONENTS)
def a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(subject: Subject) -> None:
    whole, resumed = (_Training(experiment_with(subject), SEEDS) for _ in range(2))
    whole.steps(1)
    resumed.go_on_from(whole)
    found, expected = resumed.steps(2), whole.steps(2)
    for name, value in expected.items():
        hold_same(found[name], value, f"{name} after a checkpoint, and without")


class _Training:
    """Steps of a population."""

    def __init__(self, experiment: Experiment, seeds: list[int]) -> None:
        self.experiment, self.seeds = experiment, seeds
        model = prepare(experiment, experiment.model(seeds), seeds)
        self.population = Population(model, seeds, experiment.optimiser, experiment.clipping)
        self.prober, self.records = Prober(experiment, seeds), list[StepRecord]()

    def steps(self, *numbers: int) -> dict[str, Tensor]:
        """Parameters after steps of these numbers, and losses and recorded adjoint norms of all so far; (R, ...)."""
        for step in numbers:
            batch = stack([self.experiment.task.training_batch(seed, step) for seed in self.seeds])
            batch = batch.to(self.experiment.device, self.experiment.dtype)
            self.records.append(training_step(self.experiment, self.population, self.prober, batch, step))
        found = {n: p.detach() for n, p in zip(self.population.names, self.population.stacked, strict=True)}
        found["the loss"] = torch.stack([record.loss_R for record in self.records], dim=1)
        norms = [record.adjoint_RST for record in self.records if record.adjoint_RST is not None]
        return {**found, NORMS: torch.stack(norms, dim=1)}

    def go_on_from(self, other: "_Training") -> None:
        """From what a checkpoint's file keeps of another; the records so far are in other files."""
        self.population.load_state_dict(from_file(other.population.state_dict()))
        self.prober.load_state_dict(from_file(other.prober.state_dict()), self.population)
        self.records = [*other.records]
