"""The share of a training step that is not the work itself: what the platform costs.

A real run (`rnnlab.training.run.run`, in a temporary folder, one thread, the shipped log, probe and
evaluation schedules) is timed by wrapping the functions that its loop calls, so that every microsecond of
the loop belongs to one part.

The work is: unroll, readout, loss, backward, the optimiser's step, and freeing the graph. A loop frees the
graph of a step when it overwrites it at the next, in no function of its own; its time is measured in the
bare loop below and taken out of `rest`. Everything else is overhead: data, clipping and norms, copying and
checking the parameters, handing gradients over, logging, TensorBoard, probing (also what a probed step's
hooks cost), checkpoints (one checkpoint's time spread over the steps between two). Evaluation is work of
another kind and reported apart, as are start and end.

As a check that the timers do not deceive: after every ten steps the run pauses for ten steps of bare work
on the same shapes, in the same process (A B A B …). `overhead_share_interleaved` compares the medians of
the two kinds of block and uses no part. (A block of ten steps holds one line of metrics; a probe falls into
one block in ten.)

What probing costs is a small difference of two large times; on a busy machine it may come out below zero.
TensorBoard's pictures come on top when a run is long: the sink limits them to 2 % of the
elapsed time.
"""

import contextlib
import io
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from statistics import mean, median
from typing import Any

import torch
from rich.table import Table

from rnnlab.bench.parts import Parts, replaced
from rnnlab.bench.timing import small_table
from rnnlab.bench.work import BareStep, StepSeconds, torch_threads, training_configuration
from rnnlab.build import Experiment
from rnnlab.probes.adjoint import wants
from rnnlab.schema import Config
from rnnlab.training import loop
from rnnlab.training import run as session
from rnnlab.training.model import Model

TARGET = 0.05
"""The share that the overhead should not exceed."""
WARM_UP = 20
BLOCK = 10
"""Steps before the first that counts, and steps of a block of the real run or of bare work."""
WORK = ("forward", "backward", "optimiser", "release")
APART = ("evaluation", "bare", "checkpoint")


def measure(
    *, cell: str, length: int, batch: int, hidden: int, replicas: int, steps: int, tensorboard: bool
) -> dict[str, Any]:
    """Seconds per step in all and by part, and the share that is overhead."""
    steps = math.ceil(steps / BLOCK) * BLOCK
    overrides = [
        f"steps={WARM_UP + steps}",
        f"seeds={replicas}",
        f"tensorboard={str(tensorboard).lower()}",
        "stop_when_solved=false",
    ]
    config = training_configuration(cell=cell, length=length, batch=batch, hidden=hidden, overrides=overrides)
    run = _MeasuredRun(config)
    with torch_threads(1), _temporary_folder(), contextlib.redirect_stdout(io.StringIO()):
        run.run()
    return run.result(steps)


@contextmanager
def _temporary_folder() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


class _MeasuredRun:
    """One run with timers around the functions of its loop, paused for blocks of bare work."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.parts = Parts(outermost="rest", opaque=set(APART))
        self.bare: list[list[StepSeconds]] = []  # by block
        self.blocks: list[
            float
        ] = []  # seconds of the loop up to the end of each block, what is reported apart left out
        self.save_s = 0.0  # of the slowest checkpoint; one that is written already costs nothing
        self.outside = 0.0
        self.counted: dict[str, float] = {}

    def run(self) -> None:
        began = time.perf_counter()
        with replaced(session, "train", lambda train: self._training(train)):
            session.run(self.config)
        self.outside += time.perf_counter() - began

    def _training(self, train: Callable[..., bool]) -> Callable[..., bool]:
        def measured(experiment: Experiment, *args: Any, **kwargs: Any) -> bool:
            began = time.perf_counter()
            try:
                return self._train(train, experiment, *args, **kwargs)
            finally:
                self.outside -= time.perf_counter() - began

        return measured

    def _train(
        self,
        train: Callable[..., bool],
        experiment: Experiment,
        population: Any,
        progress: Any,
        record: Any,
        sinks: list[Any],
        *,
        save: Callable[[], None],
        interrupted: Callable[[], bool],
        **others: Any,
    ) -> bool:
        timed, bare = self.parts.timed, BareStep(experiment, self.config.seeds)
        bare_block = timed("bare", lambda: self.bare.append([bare.run() for _ in range(BLOCK)]))

        def between_steps() -> bool:
            counted = progress.step - WARM_UP
            if counted % BLOCK == 0 and counted >= 0:
                bare_block()
                if counted == 0:
                    self.bare.clear()
                    self.parts.restart()
                self.blocks.append(self.parts.total(without=APART))
            return interrupted()

        def saved() -> None:
            began = time.perf_counter()
            save()
            self.save_s = max(self.save_s, time.perf_counter() - began)

        for at, part in (("gradients", "clip and norm"), ("step", "hand over"), ("backup", "backup")):
            setattr(population, at, timed(part, getattr(population, at)))
        population.optimiser.step = timed("optimiser", population.optimiser.step)
        record.add = timed("probing", record.add)
        for sink in sinks:
            part = "tensorboard" if type(sink).__name__ == "TensorBoard" else "logging"
            for method in ("rows", "adjoints", "progress"):
                setattr(sink, method, timed(part, getattr(sink, method)))
        engine = replace(experiment.engine, unroll=self._unroll(experiment.engine.unroll))
        experiment = replace(experiment, clipping=timed("clip and norm", experiment.clipping), engine=engine)
        others |= {"save": timed("checkpoint", saved), "interrupted": between_steps}
        with self._timers(type(experiment.task)), self.parts.counting():
            complete = train(experiment, population, progress, record, sinks, **others)
        self.counted = dict(self.parts.seconds)
        saved()
        return complete

    @contextmanager
    def _timers(self, task: type) -> Iterator[None]:
        """Timers around what the loop calls by name."""
        wrapped = [
            (loop._Batches, "__call__", "data"),
            (Model, "readout", "forward"),
            (task, "losses", "forward"),
            (torch.Tensor, "backward", "backward"),
            (loop, "gradient_norm", "clip and norm"),
            (loop, "_undo_unfinite_updates", "finite check"),
            (loop, "batch_mean", "probing"),
            (loop, "_log", "logging"),
            (loop, "_evaluate", "evaluation"),
        ]
        with ExitStack() as stack:
            for owner, name, part in wrapped:
                stack.enter_context(replaced(owner, name, lambda f, part=part: self.parts.timed(part, f)))
            yield

    def _unroll(self, unroll: Callable[..., Any]) -> Callable[..., Any]:
        timed = self.parts.timed("forward", unroll)

        def wrapper(*args: Any, record: bool = False, **kwargs: Any) -> Any:
            # A probed step's work is booked apart, so that what its hooks cost can be told.
            self.parts.alias = dict.fromkeys(("forward", "backward"), "probed work") if record else {}
            return timed(*args, record=record, **kwargs)

        return wrapper

    def result(self, steps: int) -> dict[str, Any]:
        """What was counted, per step."""
        parts = {name: s / steps for name, s in self.counted.items() if name not in APART}
        release_s = mean(s.release for block in self.bare for s in block)
        probed = sum(wants(step, self.config.probe_every) for step in range(WARM_UP + 1, WARM_UP + steps + 1))
        _split_probed_work(parts, probed / steps)
        parts["release"] = release_s
        parts["rest"] -= release_s
        parts["checkpoint"] = self.save_s / self.config.checkpoint_every
        step_s, work_s = sum(parts.values()), sum(parts[name] for name in WORK)
        loop_block_s = median(after - before for before, after in pairwise(self.blocks))
        bare_block_s = median(sum(s.total for s in block) for block in self.bare)
        return {
            "steps": steps,
            "step_s": step_s,
            "work_s": work_s,
            "loop_block_s": loop_block_s,
            "bare_block_s": bare_block_s,
            "parts_s": dict(sorted(parts.items(), key=lambda item: -item[1])),
            "overhead_share": 1 - work_s / step_s,
            "overhead_share_interleaved": 1 - bare_block_s / loop_block_s,
            "target overhead_share": TARGET,
            "evaluation_s_per_step": self.counted.get("evaluation", 0.0) / steps,
            "start_and_end_s": self.outside,
        }


def _split_probed_work(parts: dict[str, float], share: float) -> None:
    """Book a probed step's forward and backward like other steps', and what it took longer as probing."""
    probed = parts.pop("probed work", 0.0)
    usual = {name: parts[name] * share / (1 - share) for name in ("forward", "backward")}
    for name, seconds in usual.items():
        parts[name] += seconds
    parts["probing"] = parts.get("probing", 0.0) + probed - sum(usual.values())


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row per part, the largest first, and the share."""
    table = small_table("one training step", "part", "ms", "share")
    for name, seconds in result["parts_s"].items():
        table.add_row(name, f"{1e3 * seconds:.3f}", f"{100 * seconds / result['step_s']:.2f} %")
    table.add_section()
    table.add_row("step", f"{1e3 * result['step_s']:.3f}", "")
    return [
        table,
        f"overhead {100 * result['overhead_share']:.1f} % of a step (target <= {100 * TARGET:g} %), "
        f"against interleaved bare work {100 * result['overhead_share_interleaved']:.1f} %",
        f"apart: evaluation {1e3 * result['evaluation_s_per_step']:.2f} ms per step, "
        f"start and end of the run {result['start_and_end_s']:.1f} s",
    ]
