"""A real run, timed by part and paused for blocks of other work.

The run (`rnnlab.training.run.run`, in a temporary folder) has timers around the functions that its loop calls, so that
every microsecond of the loop belongs to one part. After every block of steps it pauses for a block of other work in the
same process, A B A B …, so that a busy machine slows both alike.
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
from typing import Any

import torch

from rnnlab.architectures.model import Model
from rnnlab.bench.parts import Parts, replaced
from rnnlab.experiment import Experiment
from rnnlab.runs.adjoints import wants
from rnnlab.schema import Config
from rnnlab.training import loop
from rnnlab.training import run as session

WARM_UP = 20
BLOCK = 10
"""Steps before the first that counts, and steps of a block of the run."""
APART = ("evaluation", "other work", "checkpoint")


def whole_blocks(steps: int) -> int:
    """So many steps at least, in whole blocks."""
    return math.ceil(steps / BLOCK) * BLOCK


@contextmanager
def _temporary_folder() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


class MeasuredRun:
    """One run with timers around the functions of its loop, paused for blocks of other work.

    Args:
        config: of the run, which has WARM_UP steps before those that count.
        other: given the experiment, makes a function that does one block of other work and returns what is to be kept.
    """

    def __init__(self, config: Config, other: Callable[[Experiment], Callable[[], Any]]) -> None:
        self.config, self.make_other = config, other
        self.parts = Parts(outermost="rest", opaque=set(APART))
        self.other: list[Any] = []  # what each block of other work gave
        self.marks: list[float] = []  # seconds of the loop up to the end of each block, without what is APART
        self.engine = ""
        self.save_s = 0.0  # of the slowest checkpoint; one that is written already costs nothing
        self.outside = 0.0
        self.counted: dict[str, float] = {}

    def run(self) -> None:
        """Do it."""
        began = time.perf_counter()
        with (
            _temporary_folder(),
            contextlib.redirect_stdout(io.StringIO()),
            replaced(session, "train", lambda train: self._training(train)),
        ):
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
        prober: Any,
        sinks: list[Any],
        *,
        save: Callable[[], None],
        interrupted: Callable[[], bool],
        **others: Any,
    ) -> bool:
        timed, other = self.parts.timed, self.make_other(experiment)
        other_block = timed("other work", lambda: self.other.append(other()))
        self.engine = experiment.engine.name

        def between_steps() -> bool:
            counted = progress.step - WARM_UP
            within = self.parts.within("evaluation") or self.parts.within("probing")
            if counted % BLOCK == 0 and counted >= 0 and not within:
                other_block()
                if counted == 0:
                    self.other.clear()
                    self.parts.restart()
                self.marks.append(self.parts.total(without=APART))
            return interrupted()

        def saved() -> None:
            began = time.perf_counter()
            save()
            self.save_s = max(self.save_s, time.perf_counter() - began)

        methods = {
            "gradients": "clip and norm",
            "clip": "clip and norm",
            "step": "hand over",
            "backup": "backup",
            "take_back": "finite check",
        }
        for at, part in methods.items():
            setattr(population, at, timed(part, getattr(population, at)))
        population.optimiser.step = timed("optimiser", population.optimiser.step)
        record.add = timed("probing", record.add)
        prober.before_update = timed("probing", prober.before_update)
        prober.measure = timed("probing", prober.measure)
        for sink in sinks:
            part = "tensorboard" if type(sink).__name__ == "TensorBoard" else "logging"
            for method in ("rows", "adjoints", "progress"):
                setattr(sink, method, timed(part, getattr(sink, method)))
        experiment = replace(
            experiment, engine=replace(experiment.engine, unroll=self._unroll(experiment.engine.unroll))
        )
        others |= {"save": timed("checkpoint", saved), "interrupted": between_steps}
        with self._timers(type(experiment.task)), self.parts.counting():
            complete = train(experiment, population, progress, record, prober, sinks, **others)
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
            apart = record and self.config.probe_every != 1
            self.parts.alias = dict.fromkeys(("forward", "backward"), "probed work") if apart else {}
            return timed(*args, record=record, **kwargs)

        return wrapper

    def blocks_s(self) -> list[float]:
        """Seconds of the loop per block, without what is APART."""
        return [after - before for before, after in pairwise(self.marks)]

    def checkpoint_s(self) -> float:
        """Seconds per step: one checkpoint's, spread over the steps between two."""
        return self.save_s / self.config.checkpoint_every

    def parts_s(self, steps: int) -> dict[str, float]:
        """Seconds per step and part, without what is APART but with the checkpoint."""
        parts = {name: s / steps for name, s in self.counted.items() if name not in APART}
        probed = sum(wants(step, self.config.probe_every) for step in range(WARM_UP + 1, WARM_UP + steps + 1))
        if "probed work" in parts:
            _split_probed_work(parts, probed / steps)
        return parts | {"checkpoint": self.checkpoint_s()}


def _split_probed_work(parts: dict[str, float], share: float) -> None:
    """Book a probed step's forward and backward like other steps', and what it took longer as probing."""
    probed = parts.pop("probed work", 0.0)
    usual = {name: parts[name] * share / (1 - share) for name in ("forward", "backward")}
    for name, seconds in usual.items():
        parts[name] += seconds
    parts["probing"] = parts.get("probing", 0.0) + probed - sum(usual.values())
