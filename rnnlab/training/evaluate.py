"""Evaluation on held-out examples, the same for every replica and every run of a task."""

from collections.abc import Callable

import torch
from torch import Tensor

from rnnlab.bptt.engine import Engine
from rnnlab.dropout.dropout import Dropout
from rnnlab.interruption import obey
from rnnlab.tasks.task import Batch, Task
from rnnlab.training.model import Model


def evaluation_set(
    task: Task, examples: int, device: torch.device, dtype: torch.dtype, interrupted: Callable[[], bool]
) -> list[Batch]:
    """The held-out examples in batches, on the device.

    Raises:
        Interrupted: it was, which is asked after each batch.
    """
    batches = []
    for batch in task.evaluation_batches(examples):
        batches.append(batch.to(device, dtype))
        obey(interrupted)
    return batches


@torch.no_grad()
def predict(model: Model, dropout: Dropout, task: Task, engine: Engine, batch: Batch) -> Tensor:
    """(R, K, B, O): what a plain model makes of a batch with an axis R. Nothing is dropped."""
    unrolled = engine.unroll(dropout.expected(model.cell), batch.input, mask_TRB=batch.mask, last=task.scored)
    return model.readout(unrolled.output_KRBH)


@torch.no_grad()
def evaluate(
    model: Model,
    dropout: Dropout,
    task: Task,
    engine: Engine,
    batches: list[Batch],
    replicas: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Tensor, Tensor]:
    """(loss_R, metric_R): means over all examples. Nothing is dropped.

    Raises:
        Interrupted: it was, which is asked before each batch.
    """
    model, losses, metrics = model.plain(), [], []
    for batch in batches:
        obey(interrupted)
        shared = batch.shared(replicas)
        prediction = predict(model, dropout, task, engine, shared)
        losses.append(task.losses(prediction, shared))
        metrics.append(task.metrics(prediction, shared))
    return torch.cat(losses, dim=1).mean(1), torch.cat(metrics, dim=1).mean(1)
