"""What training comes to: the figures of its steps are entered into results and record, and told to the sinks.

On a device figures are read late, some steps at a time, so that it always has work ahead of it.
"""

import math
import time
from typing import Any

import numpy as np
import torch

from rnnlab.device import waits
from rnnlab.experiment import Experiment
from rnnlab.runs.adjoints import AdjointRecord, is_recorded, summarise
from rnnlab.runs.progress import Progress
from rnnlab.sinks.sink import Sink
from rnnlab.training.population import Population
from rnnlab.training.step_record import ReplicaStep, StepRecord, read


class Stopwatch:
    """Seconds spent in training steps, evaluation left out, and how many."""

    def __init__(self) -> None:
        self.seconds, self.steps = 0.0, 0
        self._started: float | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        self._started = self._started or time.perf_counter()

    def stop(self, steps: int) -> None:
        """So many steps are done."""
        assert self._started is not None
        self.seconds, self.steps = self.seconds + time.perf_counter() - self._started, self.steps + steps
        self._started = None


class Ledger:
    """The account of one training.

    Args:
        progress: of the run, entered into.
        record: of adjoint norms, entered into.
        sinks: told.
        watch: runs from a step's begin until its figures are read.
    """

    def __init__(
        self, experiment: Experiment, progress: Progress, record: AdjointRecord, sinks: list[Sink], watch: Stopwatch
    ) -> None:
        self.experiment, self.progress, self.record = experiment, progress, record
        self.sinks, self.watch = sinks, watch
        self.unread: list[StepRecord] = []

    @property
    def step(self) -> int:
        """Updates made."""
        return self.progress.step + len(self.unread)

    @property
    def evaluation_due(self) -> bool:
        """Whether this step has an evaluation that it has not had yet."""
        progress, config = self.progress, self.experiment.config
        due = progress.step % config.evaluate_every == 0 or progress.step == config.steps
        return due and progress.evaluated < progress.step

    def take(self, taken: StepRecord) -> bool:
        """Take a step's figures; whether they are to be read now."""
        self.unread.append(taken)
        config, step = self.experiment.config, taken.step
        every = (config.log_every, config.evaluate_every, config.checkpoint_every)
        due = any(step % n == 0 for n in every) or is_recorded(step, config.probe_every) or step == config.steps
        return due or bool(taken.measured) or not waits(self.experiment.device)

    def read(self, population: Population) -> None:
        """Enter the figures of the steps that were taken, and let those rest whose training they end."""
        if not self.unread:
            return
        figures = list(read(self.unread))
        self.watch.stop(len(self.unread))
        self.unread.clear()
        for taken, replicas in figures:
            self._enter(taken, replicas)
        self._rest(population)

    def evaluated(self, population: Population, loss_R: torch.Tensor, metric_R: torch.Tensor) -> None:
        """Enter an evaluation of the active replicas, mark what is solved, and let it rest."""
        config, task, progress, rows = self.experiment.config, self.experiment.task, self.progress, []
        progress.evaluated = progress.step
        for seed, loss, metric in zip(population.active, loss_R.tolist(), metric_R.tolist(), strict=True):
            result = progress.results[seed]
            result.final_loss, result.final_metric = loss, metric
            if math.isfinite(loss):
                best = result.best_metric
                result.best_loss = loss if result.best_loss is None else min(loss, result.best_loss)
                result.best_metric = metric if best is None else task.metric.best(metric, best)
            for milestone in config.milestones:
                if loss < milestone:
                    result.milestones.setdefault(f"{milestone:.12g}", progress.step)
            if result.steps_to_solve is None and task.solved(loss, metric):
                result.steps_to_solve = progress.step
                if config.stop_when_solved:
                    result.status = "solved"
            row = {"step": progress.step, "seed": seed, "split": "eval", "loss": loss, "baseline": task.baseline}
            rows.append({**row, task.metric.name: metric, "solved": result.steps_to_solve is not None})
        for sink in self.sinks:
            sink.rows(rows)
        self._rest(population)

    def tell_progress(self) -> None:
        for sink in self.sinks:
            sink.progress(self.progress.step, self.progress.results)

    def close(self) -> None:
        """There are no steps left."""
        for result in self.progress.results.values():
            if result.status == "running":
                result.status = "unsolved" if result.steps_to_solve is None else "solved"

    def _rest(self, population: Population) -> None:
        results = self.progress.results
        population.keep([seed for seed in population.active if results[seed].status == "running"])

    def _enter(self, taken: StepRecord, replicas: list[ReplicaStep]) -> None:
        """One step's figures into the results, and into a line of metrics where one is due."""
        config, results, step = self.experiment.config, self.progress.results, taken.step
        self.progress.step = step
        # A replica that diverged earlier stayed where it was: the device went on with it until its figures were read.
        running = [r for r in replicas if results[r.seed].status == "running"]
        for replica in running:
            result = results[replica.seed]
            result.steps, result.updates = step, result.updates + 1
            result.clipped += replica.clipped
            if not replica.healthy:
                result.status = "diverged"
        seeds, at, adjoints = [r.seed for r in running], [taken.seeds.index(r.seed) for r in running], None
        if taken.adjoint_RST is not None:
            adjoints = self.record.add(step, seeds, taken.adjoint_RST.cpu().numpy()[at])
        if taken.measured:
            found = {name: value.cpu()[at].numpy() for name, value in taken.measured.items()}
            for sink in self.sinks:
                sink.probes(step, seeds, found)
        due = adjoints is not None or step % config.log_every == 0 or step == config.steps
        # A replica's lines do not depend on the others.
        rows = [self._row(taken, replica, adjoints) for replica in running if due or not replica.healthy]
        for sink in self.sinks if rows else ():
            sink.rows(rows)
            if adjoints is not None:
                sink.adjoints(self.record)

    def _row(self, taken: StepRecord, replica: ReplicaStep, adjoints: np.ndarray | None) -> dict[str, Any]:
        """A replica's line of metrics."""
        result = self.progress.results[replica.seed]
        row: dict[str, Any] = {
            "step": taken.step,
            "seed": replica.seed,
            "split": "train",
            "loss": replica.loss,
            "baseline": self.experiment.task.baseline,
            "grad_norm": replica.norm,
            "clip_fraction": result.clipped / max(1, result.updates),
            "lr": taken.lr,
        }
        result.clipped = result.updates = 0
        if replica.penalty is not None:
            row["penalty"] = replica.penalty
        if adjoints is None:
            return row
        norm_ST = adjoints[self.record.seeds.index(replica.seed)]
        for state, norm_T in zip(self.record.states, norm_ST, strict=True):
            summary = summarise(norm_T, torch.finfo(self.experiment.dtype).tiny)
            row[f"adjoint_slope_{state}"] = summary.slope
            row[f"adjoint_ratio_{state}"] = summary.ratio
            row[f"adjoint_live_{state}"] = summary.live
        return row
