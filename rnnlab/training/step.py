"""One training step. The experiment is this function: read it top to bottom.

R replica, B batch, S state component, T time.
"""

from collections.abc import Callable

import torch

from rnnlab.bptt.passage import Update, adjoint_norms
from rnnlab.clipping.gradient_step import gradient_norm
from rnnlab.experiment import Experiment
from rnnlab.runs.adjoints import is_recorded
from rnnlab.tasks.task import Batch
from rnnlab.training.population import Population
from rnnlab.training.prober import Prober
from rnnlab.training.step_record import StepRecord


def training_step(
    experiment: Experiment,
    population: Population,
    prober: Prober,
    batch: Batch,
    step: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> StepRecord:
    """Update the active replicas once.

    Args:
        batch: theirs, (T, R, B, I).
        step: which update, 1-based.
        interrupted: asked while probes measure.
    Raises:
        Interrupted: it was; the step is taken back, for it does not count without what it measures.
    """
    config, task, seeds = experiment.config, experiment.task, list(population.active)
    recording = is_recorded(step, config.probe_every)
    passage = experiment.passage(batch, update=Update(seeds, step), record=recording or prober.needs(step, "adjoints"))
    model = population.model.effective()

    loss_RB = task.losses(model(batch, passage), batch)
    penalty_R = experiment.regulariser.before(passage)
    B = loss_RB.shape[1]  # every example counts as one, so that an adjoint is that of its own loss: see `gradients`
    (loss_RB.sum() + B * penalty_R.sum()).backward()  # dL/dh_t passes here; the passage's calls have it now
    penalty_of_adjoints_R = experiment.regulariser.after(passage)

    gradients = population.gradients(model, examples=B)
    loss_R, norm_R = loss_RB.detach().mean(1), gradient_norm(gradients)
    moment = prober.before_update(step, population, model, batch, passage, gradients, interrupted)
    clipped_R, usable_R = population.clip(gradients, norm_R, torch.isfinite(loss_R) & torch.isfinite(norm_R))
    experiment.gradient_noise(gradients, seeds, step)
    lr_factor = experiment.schedule.factor(step, config.steps)
    healthy_R = population.step(gradients, usable_R, lr_factor)
    measured = prober.measure(moment, population)

    if not experiment.regulariser.acts:
        penalty = None
    else:
        penalty = penalty_R.detach() if penalty_of_adjoints_R is None else penalty_of_adjoints_R
    return StepRecord(
        step=step,
        lr=experiment.optimiser.lr * lr_factor,
        seeds=seeds,
        loss_R=loss_R,
        norm_R=norm_R,
        clipped_R=clipped_R,
        healthy_R=healthy_R,
        penalty_R=penalty,
        adjoint_RST=adjoint_norms(passage.recorded()) if recording else None,
        measured=measured,
    )
