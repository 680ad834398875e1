"""The nets of a run, to be used without the training loop.

R replica, one per seed; K scored steps, B batch, O output.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.build import build
from rnnlab.config import Config
from rnnlab.contract import OURS, RunError
from rnnlab.experiment import Experiment
from rnnlab.runs.record import Record
from rnnlab.runs.safe_files import refuse_links
from rnnlab.schema import validate
from rnnlab.tasks.task import Batch
from rnnlab.training import checkpoint
from rnnlab.training.evaluate import predict


@dataclass(frozen=True)
class Trained:
    """What `load` gives.

    Args:
        experiment: with the task; on the CPU, by the autograd engine.
        model: a replica per seed, in the order of experiment.config.seeds. Recurrent weights are the effective ones.
        update: after which its weights were these.
    """

    experiment: Experiment
    model: Model
    update: int

    def predict(self, batch: Batch) -> Tensor:
        """(R, K, B, O): what every replica makes of the same examples. Nothing is dropped.

        Args:
            batch: as the task's `evaluation_batches` has it, without an axis R.
        """
        shared = batch.shared(len(self.experiment.config.seeds))
        return predict(self.experiment, self.model, shared)


def load(run: str | Path, packages: Sequence[str] = (OURS,)) -> Trained:
    """A run's nets as they were at its newest good checkpoint. Nothing in the folder is changed.

    Args:
        run: the run folder. It may be a stranger's, see docs/security.md.
        packages: that its components may come from: yours, beside rnnlab.
    Raises:
        ConfigError: the configuration cannot be carried out here.
        RunError: the folder cannot be read, or has no checkpoint.
    """
    folder = Path(os.path.expanduser(run))
    refuse_links(folder)
    record = Record(folder)
    config, run_id = validate(record.config, packages), record.manifest["run_id"]
    state = checkpoint.look(folder / "checkpoint", run_id, lambda text: print(text, file=sys.stderr))
    if state is None:
        raise RunError(f"{folder}: there is no checkpoint that can be read.")
    experiment = to_look_at(config)
    model = experiment.model(config.seeds).effective()
    for replica, seed in enumerate(config.seeds):
        put(state["population"]["weights"].get(str(seed), {}), model, replica)
    return Trained(experiment, model, state["progress"]["step"])


def to_look_at(config: Config) -> Experiment:
    """A run's experiment that is not trained: on the CPU, by the autograd engine, without probes."""
    here = {"device": "cpu", "engine": "autograd", "threads": 1, "recompute": 0, "precision": "ieee", "probes": {}}
    return build(replace(config, **here), trains=False)


@torch.no_grad()
def put(weights: dict[str, Tensor], model: Model, replica: int) -> None:
    """One seed's weights of a checkpoint into an effective model.

    Raises:
        RunError: they are of another net.
    """
    try:
        for name, parameter in model.named_parameters():
            if weights[name].shape != parameter.shape[1:]:
                raise ValueError(f"{name} is {tuple(weights[name].shape)}, not {tuple(parameter.shape[1:])}")
            parameter[replica].copy_(weights[name])
    except (LookupError, RuntimeError, ValueError) as error:
        raise RunError(f"The checkpoint is not of the net that config.yaml describes ({error}).") from error
