"""The training loop. The experiment is this loop: read it top to bottom.

T time, K scored steps, R replica, B batch, S state component.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from rnnlab.build import Experiment
from rnnlab.contract import CountOrZero
from rnnlab.device import waits
from rnnlab.dropout.dropout import Noise
from rnnlab.interruption import Interrupted, obey
from rnnlab.probes.adjoint_record import AdjointRecord, batch_mean, summarise, wants
from rnnlab.probes.prober import Prober
from rnnlab.regularisers.regulariser import differentiate
from rnnlab.schema import Config
from rnnlab.sinks.sink import Sink
from rnnlab.tasks.task import Batch, drawn_ahead, stack
from rnnlab.training.evaluate import evaluate, evaluation_set
from rnnlab.training.population import Population
from rnnlab.training.step_record import ReplicaStep, StepRecord, read


@dataclass
class Result:
    """How one replica stands."""

    status: Literal["running", "solved", "unsolved", "diverged"] = "running"
    steps: CountOrZero = 0
    steps_to_solve: CountOrZero | None = None
    final_loss: float | None = None
    final_metric: float | None = None
    best_loss: float | None = None
    best_metric: float | None = None
    milestones: dict[str, CountOrZero] = field(default_factory=dict)
    clipped: CountOrZero = 0  # clipped updates since the last line of metrics
    updates: CountOrZero = 0  # updates since the last line of metrics


@dataclass
class Progress:
    """How far a run has come; with the population's state, all that a checkpoint needs.

    evaluated: the last step with an evaluation, -1 before the first.
    """

    step: CountOrZero
    results: dict[int, Result]
    evaluated: Annotated[int, Field(ge=-1)] = -1

    def state_dict(self) -> dict[str, Any]:
        results = {str(s): asdict(r) for s, r in self.results.items()}
        return {"step": self.step, "results": results, "evaluated": self.evaluated}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """What a checkpoint tells, checked; ValueError where a run does not write the like."""
        try:
            progress = TypeAdapter(cls).validate_python(state)
        except ValidationError:
            progress = None
        # Not the same again: something was taken for a number though it is none, or was left out.
        if progress is None or repr(progress.state_dict()) != repr(state) or progress.evaluated > progress.step:
            raise ValueError("its progress is not what a run writes")
        return progress

    def reopen(self, stop_when_solved: bool) -> None:
        """Whoever ended for having no steps left goes on, should there be more."""
        for result in self.results.values():
            if result.status == "unsolved" or (result.status == "solved" and not stop_when_solved):
                result.status = "running"


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


def train(
    experiment: Experiment,
    population: Population,
    progress: Progress,
    record: AdjointRecord,
    prober: Prober,
    sinks: list[Sink],
    *,
    save: Callable[..., None],
    interrupted: Callable[[], bool],
    watch: Stopwatch,
) -> bool:
    """Train until every replica is solved or diverged or out of steps. True when it was not interrupted.

    Args:
        save: writes a checkpoint of population and progress; `passing=True` when it is due to an interruption.
        interrupted: asked between two steps, between two batches of an evaluation, while probes measure, and while
            data are drawn before the first step.
    """
    config, task = experiment.config, experiment.task
    batches = _Batches(experiment)
    try:
        held_out = evaluation_set(task, config.evaluate_examples, experiment.device, experiment.dtype, interrupted)
        if population.active and progress.step < config.steps:
            batches.draw(list(population.active), progress.step + 1, interrupted)
    except Interrupted:
        return False

    def end_step() -> bool:
        """Do what is due after a step, or before the first; False when interrupted."""
        if population.active and _evaluation_due(config, progress):
            try:
                _evaluate(experiment, population, progress, held_out, sinks, interrupted)
            except Interrupted:  # before it counts: it is still due
                save(passing=True)
                return False
        for sink in sinks:
            sink.progress(progress.step, progress.results)
        if progress.step and progress.step % config.checkpoint_every == 0:
            save()
        if interrupted():
            save(passing=True)
            return False
        return True

    unread: list[StepRecord] = []

    def enter_steps(seeds: list[int]) -> None:
        """Read the figures of the steps that were done, and see whose training they end."""
        figures = list(read(unread))
        watch.stop(len(unread))
        unread.clear()
        for figures_of_step in figures:
            _account(experiment, progress, *figures_of_step, record, sinks)
        population.keep([s for s in seeds if progress.results[s].status == "running"])

    if _evaluation_due(config, progress) and not end_step():
        return False
    while population.active and progress.step < config.steps:
        watch.start()
        step = progress.step + len(unread) + 1
        seeds = list(population.active)
        probing = wants(step, config.probe_every)
        batch = batches(seeds, step)

        model, rule = population.model.plain(), experiment.rule.draw(seeds, step, len(batch.input), batch.input)
        dropped = experiment.dropout.drop(model.cell, batch.input, task.scored, Noise(seeds, step, batch.input))
        record_adjoints = probing or prober.needs(step, "adjoints")
        unrolled = experiment.engine.unroll(
            dropped.cell,
            dropped.input_TRBI,
            mask_TRB=batch.mask,
            rule=rule,
            record=record_adjoints,
            last=experiment.last,
        )
        loss_RB = task.losses(model.readout(dropped.output(unrolled.scored(task.scored))), batch)
        penalty_R = differentiate(experiment.regulariser, model.cell, batch, unrolled, loss_RB)
        gradients = population.gradients(model, examples=loss_RB.shape[1])

        loss_R, norm_R = loss_RB.detach().mean(1), gradient_norm(gradients)
        looking_back = prober.state_dict()
        moment = prober.before_update(
            step, population, model, batch, gradients, unrolled.adjoint_norm_STRB, interrupted
        )
        before = None if moment is None else population.snapshot()
        fine_R = torch.isfinite(loss_R) & torch.isfinite(norm_R)
        clipped_R = population.clip(gradients, norm_R, fine_R)
        experiment.gradient_noise(gradients, seeds, step)
        lr_factor = experiment.schedule.factor(step, config.steps)
        healthy_R = population.step(gradients, fine_R, lr_factor)

        try:
            measured = {} if moment is None else prober.measure(moment, population)
        except Interrupted:  # the step is taken back: it does not count without what it measures
            assert before is not None
            population.restore(before)
            prober.load_state_dict(looking_back, population)
            if unread:
                enter_steps(seeds)
            end_step()
            return False
        adjoint_RST = None
        if probing and unrolled.adjoint_norm_STRB is not None:
            adjoint_RST = batch_mean(unrolled.adjoint_norm_STRB, batch.mask)
        lr = config.components["optimiser"]["lr"] * lr_factor
        unread.append(
            StepRecord(step, lr, seeds, loss_R, norm_R, clipped_R, healthy_R, penalty_R, adjoint_RST, measured)
        )
        if waits(experiment.device) and not (measured or _due(config, step) or interrupted()):
            continue

        enter_steps(seeds)
        if not end_step():
            return False

    for result in progress.results.values():
        if result.status == "running":
            result.status = "unsolved" if result.steps_to_solve is None else "solved"
    return True


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """(R,) float64: each replica's norm over all its parameters, squares in float64."""
    norms = [torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)


class _Batches:
    """The population's training batches.

    They are drawn some steps ahead, which changes nothing: a batch depends on its seed and step alone. After a
    training step the drawing code has left the processor's caches, so eight batches in a row take less than half
    of the time that eight apart take.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.drawn: dict[tuple[int, int], Batch] = {}

    def draw(self, seeds: list[int], step: int, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Draw those of this step and some more; the first time, the fixed sets that they are taken from too.

        Raises:
            Interrupted: it was, which is asked after each batch.
        """
        self.drawn.clear()
        device = self.experiment.device
        for later in range(step, step + drawn_ahead(len(seeds))):
            for seed in seeds:
                self.drawn[seed, later] = self.experiment.task.training_batch(seed, later, device)
                obey(interrupted)

    def __call__(self, seeds: list[int], step: int) -> Batch:
        if (seeds[0], step) not in self.drawn:
            self.draw(seeds, step)
        batches = [self.drawn.pop((seed, step)) for seed in seeds]
        return stack(batches).to(self.experiment.device, self.experiment.dtype)


def _evaluation_due(config: Config, progress: Progress) -> bool:
    """Whether this step has an evaluation that it has not had yet."""
    due = progress.step % config.evaluate_every == 0 or progress.step == config.steps
    return due and progress.evaluated < progress.step


def _due(config: Config, step: int) -> bool:
    """Whether something happens after this step that needs its figures."""
    every = (config.log_every, config.evaluate_every, config.checkpoint_every)
    return any(step % n == 0 for n in every) or wants(step, config.probe_every) or step == config.steps


def _account(
    experiment: Experiment,
    progress: Progress,
    taken: StepRecord,
    replicas: list[ReplicaStep],
    record: AdjointRecord,
    sinks: list[Sink],
) -> None:
    """Enter one step's figures into the results, and log them where a line is due."""
    config, step = experiment.config, taken.step
    progress.step = step
    # A replica that diverged earlier stayed where it was: the device went on with it until its figures were read.
    running = [r for r in replicas if progress.results[r.seed].status == "running"]
    for replica in running:
        result = progress.results[replica.seed]
        result.steps, result.updates = step, result.updates + 1
        result.clipped += replica.clipped
        if not replica.healthy:
            result.status = "diverged"
    at, adjoints = [taken.seeds.index(r.seed) for r in running], None
    if taken.adjoint_RST is not None:
        adjoints = record.add(step, [r.seed for r in running], taken.adjoint_RST.cpu()[at])
    if taken.measured:
        found = {name: value.cpu()[at].numpy() for name, value in taken.measured.items()}
        for sink in sinks:
            sink.probes(step, [r.seed for r in running], found)
    due = adjoints is not None or step % config.log_every == 0 or step == config.steps
    # A replica's lines do not depend on the others.
    logged = [r for r in running if due or not r.healthy]
    if logged:
        _log(experiment, progress, taken, logged, adjoints, sinks, record)


def _log(
    experiment: Experiment,
    progress: Progress,
    taken: StepRecord,
    replicas: list[ReplicaStep],
    adjoints: np.ndarray | None,
    sinks: list[Sink],
    record: AdjointRecord,
) -> None:
    rows = []
    for replica in replicas:
        result = progress.results[replica.seed]
        row: dict[str, Any] = {
            "step": taken.step,
            "seed": replica.seed,
            "split": "train",
            "loss": replica.loss,
            "baseline": experiment.task.baseline,
            "grad_norm": replica.norm,
            "clip_fraction": result.clipped / max(1, result.updates),
            "lr": taken.lr,
        }
        if replica.penalty is not None:
            row["penalty"] = replica.penalty
        result.clipped = result.updates = 0
        if adjoints is not None:
            for state, norm_T in zip(record.states, adjoints[record.seeds.index(replica.seed)], strict=True):
                summary = summarise(norm_T, torch.finfo(experiment.dtype).tiny)
                row[f"adjoint_slope_{state}"] = summary.slope
                row[f"adjoint_ratio_{state}"] = summary.ratio
                row[f"adjoint_live_{state}"] = summary.live
        rows.append(row)
    for sink in sinks:
        sink.rows(rows)
        if adjoints is not None:
            sink.adjoints(record)


def _evaluate(
    experiment: Experiment,
    population: Population,
    progress: Progress,
    held_out: list[Batch],
    sinks: list[Sink],
    interrupted: Callable[[], bool],
) -> None:
    """Evaluate, mark what is solved, and let it rest."""
    config, task = experiment.config, experiment.task
    seeds = list(population.active)
    loss_R, metric_R = evaluate(
        population.model, experiment.dropout, task, experiment.engine, held_out, len(seeds), interrupted
    )
    progress.evaluated = progress.step
    rows = []
    for seed, loss, metric in zip(seeds, loss_R.tolist(), metric_R.tolist(), strict=True):
        result = progress.results[seed]
        result.final_loss, result.final_metric = loss, metric
        if math.isfinite(loss):
            result.best_loss = loss if result.best_loss is None else min(loss, result.best_loss)
            result.best_metric = metric if result.best_metric is None else task.metric.best(metric, result.best_metric)
        for milestone in config.milestones:
            if loss < milestone:
                result.milestones.setdefault(f"{milestone:.12g}", progress.step)
        if result.steps_to_solve is None and task.solved(loss, metric):
            result.steps_to_solve = progress.step
            if config.stop_when_solved:
                result.status = "solved"
        rows.append(
            {
                "step": progress.step,
                "seed": seed,
                "split": "eval",
                "loss": loss,
                "baseline": task.baseline,
                task.metric.name: metric,
                "solved": result.steps_to_solve is not None,
            }
        )
    for sink in sinks:
        sink.rows(rows)
    population.keep([s for s in seeds if progress.results[s].status == "running"])
