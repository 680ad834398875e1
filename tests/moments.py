"""A training step as probes see it, of a small experiment."""

from support import composed

from rnnlab.build import build
from rnnlab.experiment import Experiment
from rnnlab.probes.probe import Moment
from rnnlab.schema import validate
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population
from rnnlab.training.prober import Prober
from rnnlab.training.step import training_step

SMALL = (
    "cell.hidden=5", "task.length=9", "task.batch=4", "dtype=float64", "seeds=2", "engine=autograd", "steps=10",
)  # fmt: skip


def small_experiment(*overrides: str) -> Experiment:
    """One with every probe, whatever their schedules; `overrides` after the small defaults."""
    return build(validate(composed(*SMALL, "probes=full", *overrides)))


def moment(*overrides: str, steps: int = 1, prepare=None) -> Moment:
    """The last of so many training steps, and all that a probe may need, whether or not one is due.

    Args:
        prepare: called with the model before the first step, to set its parameters.
    """
    experiment = small_experiment(*overrides)
    seeds, task = experiment.config.seeds, experiment.task
    population = Population(experiment.model(seeds), seeds, experiment.optimiser, experiment.clipping)
    if prepare is not None:
        prepare(population.model)
    prober = _AllAreDue(experiment, seeds)
    for step in range(1, steps + 1):
        batch = stack([task.training_batch(s, step) for s in seeds]).to(experiment.device, experiment.dtype)
        training_step(experiment, population, prober, batch, step)
    assert prober.moment is not None
    return prober.moment


class _AllAreDue(Prober):
    moment: Moment | None = None

    def due(self, step: int):
        return dict(self.probes)

    def needs(self, step: int, what: str) -> bool:
        return True

    def measure(self, moment: Moment | None, population: Population):
        self.moment = moment
        return super().measure(moment, population)
