"""Evaluation on held-out examples, the same for every replica and every run of a task."""

import torch
from torch import Tensor

from rnnlab.bptt.engine import Engine
from rnnlab.dropout.dropout import Dropout
from rnnlab.tasks.task import Batch, Task
from rnnlab.training.model import Model


def evaluation_set(task: Task, examples: int, device: torch.device, dtype: torch.dtype) -> list[Batch]:
    """The held-out examples in batches, on the device."""
    return [batch.to(device, dtype) for batch in task.evaluation_batches(examples)]


@torch.no_grad()
def evaluate(
    model: Model, dropout: Dropout, task: Task, engine: Engine, batches: list[Batch], replicas: int
) -> tuple[Tensor, Tensor]:
    """(loss_R, metric_R): means over all examples. Nothing is dropped."""
    model, losses, metrics = model.plain(), [], []
    for batch in batches:
        shared = batch.shared(replicas)
        unrolled = engine.unroll(dropout.expected(model.cell), shared.input, mask_TRB=shared.mask, last=task.scored)
        prediction = model.readout(unrolled.output_KRBH)
        losses.append(task.losses(prediction, shared))
        metrics.append(task.metrics(prediction, shared))
    return torch.cat(losses, dim=1).mean(1), torch.cat(metrics, dim=1).mean(1)
