"""What a population is given before its first update: updates by the regulariser's penalty alone.

R replica.
"""

from collections.abc import Callable

import torch

from rnnlab.architectures.model import Model
from rnnlab.clipping.gradient_step import gradient_norm
from rnnlab.clipping.none import NoClipping
from rnnlab.experiment import Experiment
from rnnlab.interruption import obey
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population


def prepare(
    experiment: Experiment, model: Model, seeds: list[int], interrupted: Callable[[], bool] = lambda: False
) -> Model:
    """A freshly drawn model as training begins with it, changed in place; replica r depends on seeds[r] alone.

    Args:
        interrupted: asked before each update.
    Raises:
        Interrupted: it was.
    """
    regulariser, updates = experiment.regulariser, experiment.regulariser.updates_at_first
    population = Population(model, seeds, experiment.optimiser, NoClipping()) if updates else None
    for step in range(1, updates + 1):
        assert population is not None
        obey(interrupted)
        batches = [experiment.task.training_batch(seed, step, experiment.device) for seed in seeds]
        batch = stack(batches).to(experiment.device, experiment.dtype)
        passage, effective = experiment.passage(batch), model.effective()
        effective(batch, passage)
        regulariser.at_first(passage).sum().backward()
        gradients = population.gradients(effective, examples=1)
        population.step(gradients, torch.isfinite(gradient_norm(gradients)), 1.0)
    return model
