"""A training step as probes see it, of a small experiment."""

from support import composed

from rnnlab.build import Experiment, build
from rnnlab.probes.probe import Moment
from rnnlab.probes.prober import Prober
from rnnlab.schema import validate
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population

SMALL = (
    "cell.hidden=5", "task.length=9", "task.batch=4", "dtype=float64", "seeds=2", "engine=autograd", "steps=10",
)  # fmt: skip


def small_experiment(*overrides: str) -> Experiment:
    """One with every probe, whatever their schedules; `overrides` after the small defaults."""
    return build(validate(composed(*SMALL, "probes=full", *overrides)))


def moment(*overrides: str, steps: int = 1, prepare=None) -> Moment:
    """The last of so many training steps, and all that a probe may need, whether or not one is due.

    Args:
        prepare: called with the population before the first step, to set its parameters.
    """
    experiment = small_experiment(*overrides)
    seeds, task = experiment.config.seeds, experiment.task
    population = Population(experiment.model(seeds), seeds, experiment.optimiser, experiment.clipping)
    if prepare is not None:
        prepare(population.model)
    prober = _AllAreDue(experiment, seeds)
    made = None
    for step in range(1, steps + 1):
        model = population.model.plain()
        batch = stack([task.training_batch(s, step) for s in seeds]).to(experiment.device, experiment.dtype)
        unrolled = experiment.engine.unroll(
            model.cell,
            batch.input,
            mask_TRB=batch.mask,
            rule=experiment.rule.draw(seeds, step, len(batch.input), batch.input),
            record=True,
            last=task.scored,
        )
        loss_RB = task.losses(model.readout(unrolled.output_KRBH), batch)
        loss_RB.sum().backward()
        gradients = population.gradients(model, examples=loss_RB.shape[1])
        made = prober.before_update(step, population, model, batch, gradients, unrolled.adjoint_norm_STRB)
        population.step(gradients, loss_RB.mean(1).isfinite(), 1.0)
        assert made is not None
        prober.measure(made, population)
    assert made is not None
    return made


class _AllAreDue(Prober):
    def due(self, step: int):
        return dict(self.probes)

    def needs(self, step: int, what: str) -> bool:
        return True
