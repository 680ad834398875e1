"""Memorise a waveform: one sequence is generated from a constant input (Koutník, Greff, Gomez & Schmidhuber 2014).

T time, B batch, P period, R replica, K scored step, O output.
"""

import functools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rnnlab.contract import Count, OpenShare, Positive, Seed, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU, generator
from rnnlab.tasks.task import Batch, Metric, example_mean


@component
class Waves:
    """y_t = a + b sum_P sin(2 pi t / P + phi_P), t = 0 to T - 1, with a and b such that y goes from -1 to 1.

    The paper memorises pieces of music; a sum of sines has slow and fast parts that are known. The input is constant,
    so that a net that does not carry time along can only say the mean, whose error is the variance of y.

    There is one sequence: every example of every batch and replica is that one, and it is what is evaluated on.

    Args:
        length: T, time steps, at least 2. All are scored.
        batch: copies per training step; the gradient's mean over them is that of one.
        periods: P of every sine, in steps, each from 2 to 1000 T. All have the same amplitude.
        phases: seed that every phi_P ~ U(0, 2 pi) is drawn with: which waveform it is.
        input: `every_step`: the input is 1 at every step. `first_step`: at the first, and 0 later.
        solved_nmse: solved when the mean squared error is below this share of the target's variance.
    """

    length: Count
    batch: Count
    periods: list[Positive]
    phases: Seed
    input: Literal["every_step", "first_step"]
    solved_nmse: OpenShare

    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 1
    single: ClassVar[bool] = True
    held_out: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("nmse", "share of the target's variance", "lower")
    unit: ClassVar[str] = "squared error per time step"

    def why_not(self, plan: Plan) -> Refusal:
        if self.length < 2:
            return {"length": "One step is no waveform; at least 2"}
        if not self.periods or min(self.periods) < 2:
            return {"periods": "At least one, and each at least 2: steps show nothing faster"}
        if max(self.periods) > 1000 * self.length:
            return {"periods": f"At most 1000 times task.length={self.length}: less of a sine is a straight line"}
        return None

    @property
    def steps(self) -> int:
        return self.length

    @property
    def scored(self) -> int:
        return self.length

    @property
    def solved_when(self) -> str:
        return f"MSE < {self.solved_nmse:g} of the target's variance"

    @property
    def waveform(self) -> Tensor:
        """(T,) float64: y."""
        return _waveform(self.length, tuple(self.periods), self.phases, CPU)

    @property
    def baseline(self) -> float:
        """The variance of y: the error of its mean, said at every step."""
        return self.waveform.var(correction=0).item()

    def _copies(self, n: int, device: torch.device) -> Batch:
        input_TB1 = torch.ones(self.length, n, 1, device=device)
        if self.input == "first_step":
            input_TB1[1:] = 0
        target_T = _waveform(self.length, tuple(self.periods), self.phases, device).to(input_TB1.dtype)
        return Batch(input_TB1, target_T.unsqueeze(1).repeat(1, n))

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return self._copies(self.batch, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        yield self._copies(1, CPU)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): squared error, mean over the steps."""
        return example_mean((prediction_RKBO[..., 0] - batch.target.transpose(0, 1)).square())

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): the loss by the variance of y."""
        return self.losses(prediction_RKBO, batch) / self.baseline

    def solved(self, loss: float, metric: float) -> bool:
        return metric < self.solved_nmse

    def describe(self, generator: torch.Generator) -> str:
        """The waveform as dots over time, from 1 down to -1; of a long one every so-manieth step."""
        apart, rows = math.ceil(self.length / 80), 11
        shown = self.waveform[::apart]
        level = ((1 - shown) / 2 * (rows - 1)).round().int().tolist()
        lines = ["".join("*" if at == row else " " for at in level).rstrip() for row in range(rows)]
        names = ["1", *[""] * (rows - 2), "-1"]
        named = [f"{name:>6}  {line}".rstrip() for name, line in zip(names, lines, strict=True)]
        given = "1 at every step" if self.input == "every_step" else "1 at the first step, then 0"
        target = f"target  y_0 to y_{self.length - 1}" + (f", every {apart} steps" if apart > 1 else "")
        return "\n".join([f"input   {given}", target, *named])


@functools.lru_cache(maxsize=16)
def _waveform(length: int, periods: tuple[float, ...], phases: int, device: torch.device) -> Tensor:
    drawn = torch.rand(len(periods), generator=generator(phases, "waveform"), dtype=torch.float64)
    time_T = torch.arange(length, dtype=torch.float64)
    angle_PT = 2 * torch.pi * (time_T / torch.tensor(periods, dtype=torch.float64).unsqueeze(1) + drawn.unsqueeze(1))
    sum_T = angle_PT.sin().sum(0)
    return (2 * (sum_T - sum_T.min()) / (sum_T.max() - sum_T.min()) - 1).to(device)
