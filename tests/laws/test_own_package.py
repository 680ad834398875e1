"""Adding a technique is one Python file and one YAML, of a user's own too: nothing else is edited, no list grows."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from helpers import TINY, only_run, read, read_probes

from rnnlab.cli import run_command_line
from rnnlab.laws import check

CLIPPING = '''
"""Every gradient softly, by its own length."""

from rnnlab.clipping.gradient_step import per_replica
from rnnlab.contract import Positive, component


@component
class Soft:
    """g <- g / (1 + |g| / bound).

    Args:
        bound: that a norm stays below, > 0.
    """

    bound: Positive

    def __call__(self, step):
        factor_R = 1 / (1 + step.norm_R / self.bound)
        for gradient in step.gradients.values():
            gradient.mul_(per_replica(factor_R, gradient).to(gradient.dtype))
        return step.norm_R > self.bound
'''
CELL = '''
"""A net that moves a share of the way."""

from typing import ClassVar

from rnnlab.cells.cell import ActivationFactory, Cell
from rnnlab.contract import Count, PositiveShare, component


@component
class Slow(Cell):
    """h_t = (1 - share) h_{t-1} + share phi(x_t U + h_{t-1} W + b).

    Args:
        replicas, inputs, hidden: R, I, H.
        activation: phi.
        share: above 0, at most 1.
    """

    blocks: ClassVar[tuple[str, ...]] = ("all",)
    states: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self, *, replicas: Count, inputs: Count, hidden: Count, activation: ActivationFactory, share: PositiveShare
    ) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.activation, self.share = activation(), share

    def step(self, input_RBI, state):
        (h,) = state
        new = h + self.share * (self.activation(self.preactivation(input_RBI, h)) - h)
        return new, (new,)
'''
TASK = '''
"""Tell the first number at the end."""

from typing import ClassVar

import torch
from rnnlab import streams
from rnnlab.contract import Count, Positive, component
from rnnlab.streams import CPU
from rnnlab.tasks.task import Batch, Metric


@component
class First:
    """x_t ~ U(0, 1); the target is x_1.

    Args:
        length: T.
        batch: examples per training step.
        solved_mse: solved below this.
    """

    length: Count
    batch: Count
    solved_mse: Positive

    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 1
    scored: ClassVar[int] = 1
    baseline: ClassVar[float] = 1 / 12
    metric: ClassVar[Metric] = Metric("error", "difference", "lower")
    unit: ClassVar[str] = "squared difference"

    @property
    def steps(self) -> int:
        return self.length

    @property
    def solved_when(self) -> str:
        return f"mean squared error < {self.solved_mse:g}"

    def _drawn(self, n, generator):
        drawn = torch.rand(self.length, n, 1, generator=generator)
        return Batch(drawn, drawn[:1, :, 0])

    def training_batch(self, seed, step, device=CPU):
        return self._drawn(self.batch, streams.generator(seed, "data", step))

    def evaluation_batches(self, examples):
        whole = self._drawn(1000, streams.generator(0, "evaluation"))
        yield Batch(whole.input[:, :examples], whole.target[:, :examples])

    def losses(self, prediction_RKBO, batch):
        return (prediction_RKBO[:, 0, :, 0] - batch.target[0]).square()

    def metrics(self, prediction_RKBO, batch):
        return (prediction_RKBO[:, 0, :, 0] - batch.target[0]).abs().clamp(max=1)

    def solved(self, loss, metric):
        return loss < self.solved_mse

    def describe(self, generator):
        drawn = self._drawn(1, generator)
        return f"input   {drawn.input.flatten().tolist()}\\ntarget  {drawn.target.item()}"
'''
PROBE = '''
"""How large gradients are."""

from typing import ClassVar

from rnnlab.contract import Positive, component


@component
class Large:
    """`share` (R,): of the gradient's entries, those above a bound.

    Args:
        bound: > 0.
    """

    bound: Positive

    needs: ClassVar[tuple[str, ...]] = ()

    def measure(self, moment):
        entries = [g.flatten(1) for g in moment.gradients.values()]
        above_R = sum((g.abs() > self.bound).sum(1) for g in entries)
        return {"share": above_R / sum(g.shape[1] for g in entries)}
'''
OPTIMISER = '''
"""Signs alone."""

import torch
from rnnlab.contract import BelowOne, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Signs(Optimiser):
    """w <- w - lr sign(m), m <- keep m + (1 - keep) (g + weight_decay w).

    Args:
        keep: in [0, 1).
    """

    keep: BelowOne

    def __call__(self, groups):
        return _Signs(groups, {**self.rate_and_decay, "keep": self.keep})


class _Signs(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                    mean.lerp_(weight.grad + group["weight_decay"] * weight, 1 - group["keep"])
                    weight.sub_(group["lr"] * mean.sign())
'''
ARCHITECTURE = '''
"""Two cells that read the same."""

import torch
from rnnlab.architectures.architecture import Architecture
from rnnlab.contract import Repeats, component


@component
class Beside(Architecture):
    """y_t = [h^1_t; ...; h^n_t], h^k_t = cell_k(x_t, h^k_{t-1}).

    Args:
        cells: n.
    """

    cells: Repeats

    def parts(self, cell, sizes):
        return {f"cell{k}": cell(sizes.inputs) for k in range(1, self.cells + 1)}

    def run(self, parts, input_TRBI, passage):
        outputs = [passage(name, part, input_TRBI, last=passage.last).output_KRBH for name, part in parts.items()]
        return torch.cat(outputs, dim=-1)

    def width(self, parts):
        return sum(part.width for part in parts.values())
'''
TIMES = {"every": 5, "first": 1, "per_decade": 0}
OWN = {
    "clipping": (CLIPPING, "Soft", {"bound": 1.0}),
    "cell": (CELL, "Slow", {"hidden": 6, "share": 0.5}),
    "task": (TASK, "First", {"length": 7, "batch": 3, "solved_mse": 0.01}),
    "probe": (PROBE, "Large", {"bound": 0.1, **TIMES}),
    "optimiser": (OPTIMISER, "Signs", {"lr": 0.01, "weight_decay": 0.0, "recurrent_lr_factor": 1.0, "keep": 0.9}),
    "architecture": (ARCHITECTURE, "Beside", {"cells": 2}),
}
CHOICE = {group: f"{group}=mine" for group in OWN} | {"probe": "+probe@probes.mine=mine"}


@pytest.fixture
def own(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """One .py and one .yaml each, in a folder of the user's; the YAMLs' content by group."""
    leaves = {}
    for group, (source, name, values) in OWN.items():
        leaves[group] = {"_target_": f"theirs.{group}.{name}", **values}
        for path, text in (
            ("theirs/__init__.py", ""),
            (f"theirs/{group}.py", source),
            (f"conf/{group}/mine.yaml", yaml.safe_dump(leaves[group])),
        ):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
    monkeypatch.syspath_prepend(str(in_tmp_path))
    yield leaves
    for name in [name for name in sys.modules if name.partition(".")[0] == "theirs"]:
        del sys.modules[name]


@pytest.mark.parametrize("group", OWN)
def test_it_obeys_the_laws_of_its_group_whichever_that_is(own: dict[str, dict], group: str) -> None:
    held = check(own[group])
    assert len(held) > 8
    _, name, _ = OWN[group]
    assert check(getattr(import_module(f"theirs.{group}"), name), own[group]) == held


@pytest.mark.parametrize("groups", [*([group] for group in OWN), [*OWN]], ids=lambda groups: "+".join(groups))
def test_a_run_is_trained_with_it(own: dict[str, dict], groups: list[str]) -> None:
    tiny = [argument for argument in TINY if not (argument == "task=adding" and "task" in groups)]
    chosen = [*tiny, *(CHOICE[group] for group in groups), "seeds=2", "tensorboard=true"]
    assert run_command_line(["--config-dir=conf", "components=[rnnlab,theirs]", *chosen]) == 0
    manifest, summary = read(only_run(), "manifest.json"), read(only_run(), "summary.json")
    assert manifest["status"] == "finished"
    assert [seed["steps"] for seed in summary["seeds"]] == [12, 12]
    if "probe" in groups:
        assert set(read_probes(only_run())) == {1, 5, 10}
