"""Evaluation on held-out examples, the same for every replica and every run of a task."""

from collections.abc import Callable

import torch
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.experiment import Experiment
from rnnlab.interruption import obey
from rnnlab.tasks.task import Batch


def evaluation_set(experiment: Experiment, interrupted: Callable[[], bool]) -> list[Batch]:
    """The held-out examples in batches, on the device.

    Raises:
        Interrupted: it was, which is asked after each batch.
    """
    batches = []
    for batch in experiment.task.evaluation_batches(experiment.config.evaluate_examples):
        batches.append(batch.to(experiment.device, experiment.dtype))
        obey(interrupted)
    return batches


@torch.no_grad()
def predict(experiment: Experiment, model: Model, batch: Batch) -> Tensor:
    """(R, K, B, O): what an effective model makes of a batch with an axis R. Nothing is dropped."""
    return model(batch, experiment.passage(batch))


@torch.no_grad()
def evaluate(
    experiment: Experiment, model: Model, batches: list[Batch], interrupted: Callable[[], bool] = lambda: False
) -> tuple[Tensor, Tensor]:
    """(loss_R, metric_R): means over all examples. Nothing is dropped.

    Args:
        batches: without an axis R.
    Raises:
        Interrupted: it was, which is asked before each batch.
    """
    task, model, losses, metrics = experiment.task, model.effective(), [], []
    for batch in batches:
        obey(interrupted)
        shared = batch.shared(len(next(model.parameters())))
        prediction = predict(experiment, model, shared)
        losses.append(task.losses(prediction, shared))
        metrics.append(task.metrics(prediction, shared))
    return torch.cat(losses, dim=1).mean(1), torch.cat(metrics, dim=1).mean(1)
