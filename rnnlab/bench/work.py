"""What the benchmarks time: cells, experiments from the shipped configuration, and the bare work of one step.

T time, R replica, B batch, I input, H hidden.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from rnnlab.bptt.fused.library import KernelUnavailable
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell
from rnnlab.experiment import Experiment
from rnnlab.make import make_cell
from rnnlab.schema import Config, config_folder, validate
from rnnlab.tasks.task import Batch, stack


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, and restore what it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def configuration(*overrides: str) -> Config:
    """The checked configuration that these command-line arguments give."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        raw = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(raw, dict)
    return validate({str(key): value for key, value in raw.items()})


def training_configuration(*, cell: str, length: int, batch: int, hidden: int, overrides: list[str]) -> Config:
    """A run on the adding problem, whose two inputs cost least beside the cell, at the shipped schedules."""
    sizes = [f"task.length={length}", f"task.batch={batch}", f"cell.hidden={hidden}"]
    return configuration("task=adding", f"cell={cell}", "device=cpu", *sizes, *overrides)


def random_cell(name: str, *, replicas: int, inputs: int, hidden: int, seed: int = 0) -> Cell:
    """A tanh cell with all parameters from U(-1/sqrt(H), 1/sqrt(H)), as torch.nn draws them."""
    parts = configuration(f"cell={name}", f"cell.hidden={hidden}").components
    cell = make_cell(parts, replicas=replicas, inputs=inputs)
    generator = torch.Generator().manual_seed(seed)
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=generator)
    return cell


def fused_unroller(threads: int) -> Callable[..., Unrolled] | str:
    """The fused engine in the form of `rnnlab.bptt.unroll.unroll`, or why there is none here."""
    from rnnlab.bptt.fused import operators  # importing it registers them

    try:
        operators.kernel()
    except KernelUnavailable as error:
        return str(error)
    return partial(fused_unroll, threads=threads)


@dataclass
class StepSeconds:
    """Seconds of one bare step by part. `release`: freeing the graph, which a loop pays at its next step."""

    forward: float
    backward: float
    optimiser: float
    release: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimiser + self.release


class BareStep:
    """Unroll, readout, loss, backward and optimiser step on one fixed batch; nothing else.

    The optimiser has the same tensors as in a run: one leaf per replica and parameter.

    Args:
        experiment: gives model, task and optimiser.
        seeds: one per replica.
    """

    def __init__(self, experiment: Experiment, seeds: list[int]) -> None:
        self.task, self.rule, self.engine = experiment.task, experiment.rule, experiment.engine
        self.model, self.seeds = experiment.model(seeds), seeds
        self.stacked = list(self.model.parameters())
        self.leaves = [[p.detach()[r].requires_grad_() for r in range(len(seeds))] for p in self.stacked]
        leaves = [leaf for of_parameter in self.leaves for leaf in of_parameter]
        self.optimiser = experiment.optimiser([{"params": leaves}])
        batches = [self.task.training_batch(seed, 1) for seed in seeds]
        self.batch: Batch = stack(batches).to(experiment.device, experiment.dtype)

    def loss(self) -> Tensor:
        """The summed loss, with its graph."""
        unrolled = self.engine.unroll(
            self.model.cell,
            self.batch.input,
            mask_TRB=self.batch.mask,
            rule=self.rule.draw(self.seeds, 1, len(self.batch.input), self.batch.input),
            last=self.task.scored,
        )
        return self.task.losses(self.model.readout(unrolled.output_KRBH), self.batch).sum()

    def run(self) -> StepSeconds:
        """One step, timed by part."""
        clock = [time.perf_counter()]
        loss = self.loss()
        clock.append(time.perf_counter())
        loss.backward()
        clock.append(time.perf_counter())
        self._update()
        clock.append(time.perf_counter())
        del loss
        clock.append(time.perf_counter())
        return StepSeconds(*(after - before for before, after in pairwise(clock)))

    def _update(self) -> None:
        for parameter, leaves in zip(self.stacked, self.leaves, strict=True):
            assert parameter.grad is not None
            for leaf, gradient in zip(leaves, parameter.grad, strict=True):
                leaf.grad = gradient
            parameter.grad = None
        self.optimiser.step()
