"""Of every task, a replica's loss, metric and gradients are those that it has alone, to the bit."""

import pytest
import torch
from support import DTYPES, composed, leaf, options
from torch import Tensor

from rnnlab.build import build
from rnnlab.experiment import Experiment
from rnnlab.schema import validate
from rnnlab.tasks.task import stack

SEEDS = [4, 1, 7]
SMALL = {"length": 12, "batch": 5}


def measured(experiment: Experiment, seeds: list[int]) -> list[Tensor]:
    """Each with the replica axis first."""
    task, model = experiment.task, experiment.model(seeds)
    batch = stack([task.training_batch(seed, 1) for seed in seeds]).to(experiment.device, experiment.dtype)
    prediction = model(batch, experiment.passage(batch))
    loss = task.losses(prediction, batch)
    return [loss.detach(), task.metrics(prediction, batch), *torch.autograd.grad(loss.sum(), list(model.parameters()))]


@pytest.mark.parametrize("batch", [5, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("option", options("task"))
def test_a_replica_is_as_alone(option: str, dtype: torch.dtype, batch: int) -> None:
    given = leaf("task", option)
    if "source" in given:
        pytest.importorskip("sklearn")
    sizes = [f"task.{name}={value}" for name, value in {**SMALL, "batch": batch}.items() if name in given]
    wide = ["cell=lstm", "cell.hidden=7", "device=cpu", f"dtype={str(dtype).removeprefix('torch.')}"]
    experiment = build(validate(composed(f"task={option}", *sizes, *wide, "seeds=3")))
    together = measured(experiment, SEEDS)
    for r, seed in enumerate(SEEDS):
        for found, expected in zip(measured(experiment, [seed]), together, strict=True):
            assert torch.equal(found[0], expected[r])
