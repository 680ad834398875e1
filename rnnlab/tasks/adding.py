"""The adding problem (Hochreiter & Schmidhuber 1997)."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from rnnlab.contract import Count, Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.task import Batch, Metric, drawn_evaluation_batches, drawn_training_batch


@component
class Adding:
    """Read numbers from U(0, 1), two of them marked; say the sum of the two at the end.

    Predicting 1 always gives an MSE of 1/6. A net that has learnt one addend only stands at 1/12.

    Args:
        length: T, time steps.
        batch: examples per training step.
        markers: `halves`: one mark in each half (uRNN, LEM, coRNN); `anywhere`: two different places (TCN).
        shortest: None for a fixed length; else every example's length is drawn from U{shortest, ..., length}.
        examples: None for fresh examples at every step; else the size of a fixed set, reshuffled every epoch.
        solved_mse: solved when the mean squared error is below this.
    """

    length: Count
    batch: Count
    markers: Literal["halves", "anywhere"]
    shortest: Count | None
    examples: Count | None
    solved_mse: Positive

    inputs: ClassVar[int] = 2
    outputs: ClassVar[int] = 1
    scored: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("accuracy", "share of the sums", "higher")
    unit: ClassVar[str] = "squared error"
    baseline: ClassVar[float] = 1 / 6

    def why_not(self, plan: Plan) -> Refusal:
        if self.length < 2:
            return {"length": "Two different steps are marked; at least 2"}
        if self.shortest is not None and not 2 <= self.shortest < self.length:
            return {"shortest": f"At least 2 and below task.length={self.length}, or null for equal lengths"}
        if self.examples is not None and self.examples < self.batch:
            return {"examples": f"A fixed set holds at least task.batch={self.batch}"}
        return None

    @property
    def steps(self) -> int:
        return self.length

    @property
    def solved_when(self) -> str:
        return f"MSE < {self.solved_mse:g}"

    # Examples are kept as (values (n, T), marked steps (n, 2), length (n,)).
    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        device = generator.device
        values = torch.rand(n, self.length, generator=generator, device=device)
        if self.shortest is None:
            length = torch.full((n,), self.length, device=device)
        else:
            length = torch.randint(self.shortest, self.length + 1, (n,), generator=generator, device=device)
        u = torch.rand(n, 2, generator=generator, dtype=torch.float64, device=device)
        half = length // 2
        if self.markers == "halves":
            first = (u[:, 0] * half).long()
            second = half + (u[:, 1] * (length - half)).long()
        else:
            first = (u[:, 0] * length).long()
            second = (u[:, 1] * (length - 1)).long()
            second = second + (second >= first)
        start = self.length - length
        return values, torch.stack([first + start, second + start], dim=1), length

    def write(self, drawn: tuple[Tensor, Tensor, Tensor]) -> Batch:
        values_NT, marked_N2, length_N = drawn
        mark_NT = torch.zeros_like(values_NT).scatter_(1, marked_N2, 1.0)
        target = values_NT.gather(1, marked_N2).sum(1).unsqueeze(0)
        mask = None
        if self.shortest is not None:
            mask = torch.arange(self.length, device=length_N.device).unsqueeze(1) >= self.length - length_N
        return Batch(torch.stack([values_NT.T, mark_NT.T], dim=-1), target, mask)

    def marked(self, batch: Batch) -> Tensor:
        """The two steps that carry a mark."""
        return batch.input[..., 1] > 0

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return drawn_training_batch(self, seed, step, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        return drawn_evaluation_batches(self, examples)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): squared error of the sum."""
        return (prediction_RKBO[:, 0, :, 0] - batch.target[0]).square()

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): 1 where the squared error is at most 0.04, the success rule of Pascanu et al. 2013."""
        return (self.losses(prediction_RKBO, batch) <= 0.04).to(prediction_RKBO.dtype)

    def solved(self, loss: float, metric: float) -> bool:
        return loss < self.solved_mse

    def describe(self, generator: Generator) -> str:
        """The numbers, the marks under them, and the target."""
        batch = self.write(self.draw(1, generator))
        start = 0 if batch.mask is None else int((~batch.mask[:, 0]).sum())
        values, marks = batch.input[start:, 0, 0].tolist(), batch.input[start:, 0, 1].tolist()
        return (
            "input   " + " ".join(f"{v:.2f}" for v in values) + "\n"
            "mark    " + " ".join("  ^ " if m else "    " for m in marks).rstrip() + "\n"
            f"target  {batch.target[0, 0].item():.4f} at the last step"
        )
