"""Copy memory (Hochreiter & Schmidhuber 1997; in the form of Arjovsky, Shah & Bengio 2016)."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab.contract import Count, Share, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.task import Batch, Metric, class_losses, drawn_evaluation_batches, drawn_training_batch, example_mean


@component
class Copy:
    """See `symbols` symbols, wait, and say them again.

    A sequence has length + 2 symbols steps (T + 20 with 10 symbols): the symbols, a lag of blanks with a marker, and
    the recall. Class 0 is the blank, 1 to `alphabet` are the symbols, alphabet + 1 is the marker (input only).

    Args:
        length: T, the lag.
        batch: examples per training step.
        symbols: how many symbols to remember; 10 in every paper.
        alphabet: how many different symbols; 8 in every paper.
        marker: `before_recall`: length - 1 blanks, the marker, then the recall starts one step after it (uRNN, scoRNN,
            nnRNN). `at_recall`: length blanks, and the first symbol is due at the marker (expRNN, GeoTorch).
        input: `one_hot` (alphabet + 2 inputs) or `scalar` (one input: the class number; nnRNN, TCN).
        scored_steps: `all` steps or the `recall` steps only.
        shortest: None for a fixed lag; else every example's lag is drawn from U{shortest, ..., length}.
        examples: None for fresh examples at every step; else the size of a fixed set, reshuffled every epoch.
        solved_accuracy: solved when at least this share of the recalled symbols is right.
    """

    length: Count
    batch: Count
    symbols: Count
    alphabet: Count
    marker: Literal["before_recall", "at_recall"]
    input: Literal["one_hot", "scalar"]
    scored_steps: Literal["all", "recall"]
    shortest: Count | None
    examples: Count | None
    solved_accuracy: Share

    def why_not(self, plan: Plan) -> Refusal:
        if self.shortest is not None and self.shortest >= self.length:
            return {"shortest": f"Below task.length={self.length}, or null for equal lengths"}
        if self.examples is not None and self.examples < self.batch:
            return {"examples": f"A fixed set holds at least task.batch={self.batch}"}
        if not 2 <= self.alphabet <= 256:
            return {"alphabet": "From 2 (one symbol carries nothing to remember) to 256"}
        return None

    @property
    def inputs(self) -> int:
        return 1 if self.input == "scalar" else self.alphabet + 2

    @property
    def outputs(self) -> int:
        return self.alphabet + 1

    @property
    def steps(self) -> int:
        return self.length + 2 * self.symbols

    @property
    def scored(self) -> int:
        return self.steps if self.scored_steps == "all" else self.symbols

    metric: ClassVar[Metric] = Metric("recall_accuracy", "share of the recalled symbols", "higher")

    @property
    def unit(self) -> str:
        return "nats per recalled symbol" if self.scored_steps == "recall" else "nats per time step"

    @property
    def solved_when(self) -> str:
        return f"recall accuracy >= {self.solved_accuracy:g}"

    @property
    def baseline(self) -> float:
        """K ln A / (T + 2K) over all steps (10 ln 8 / (T + 20)), ln A over the recall steps."""
        symbol = math.log(self.alphabet)
        if self.scored_steps == "recall":
            return symbol
        lags = [self.length] if self.shortest is None else range(self.shortest, self.length + 1)
        return sum(self.symbols * symbol / (lag + 2 * self.symbols) for lag in lags) / len(lags)

    # Examples are kept as (symbols (n, K), lag (n,)), a few bytes each, and written out as sequences per batch.
    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        device = generator.device
        symbols = torch.randint(self.alphabet, (n, self.symbols), generator=generator, dtype=torch.uint8, device=device)
        if self.shortest is None:
            return symbols, torch.full((n,), self.length, device=device)
        return symbols, torch.randint(self.shortest, self.length + 1, (n,), generator=generator, device=device)

    def write(self, drawn: tuple[Tensor, Tensor]) -> Batch:
        symbols_NK, lag_N = drawn[0].long() + 1, drawn[1]
        n, K, T, device = len(lag_N), self.symbols, self.steps, lag_N.device
        classes_TN = torch.zeros(T, n, dtype=torch.long, device=device)
        start_N = self.length - lag_N
        rows = start_N + torch.arange(K, device=device).unsqueeze(1)
        classes_TN.scatter_(0, rows, symbols_NK.T)
        classes_TN[T - K - (self.marker == "before_recall")] = self.alphabet + 1
        target_TN = torch.zeros(T, n, dtype=torch.long, device=device)
        target_TN[T - K :] = symbols_NK.T
        if self.input == "scalar":
            inputs = classes_TN.unsqueeze(-1).to(torch.get_default_dtype())
        else:
            inputs = functional.one_hot(classes_TN, self.inputs).to(torch.get_default_dtype())
        mask = None if self.shortest is None else torch.arange(T, device=device).unsqueeze(1) >= start_N
        return Batch(inputs, target_TN[T - self.scored :], mask)

    def classes(self, batch: Batch) -> Tensor:
        """The input without its I axis: class numbers."""
        return batch.input[..., 0].long() if self.input == "scalar" else batch.input.argmax(-1)

    def marked(self, batch: Batch) -> Tensor:
        """The steps that show a symbol."""
        classes = self.classes(batch)
        return (classes >= 1) & (classes <= self.alphabet)

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return drawn_training_batch(self, seed, step, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        return drawn_evaluation_batches(self, examples)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats, mean over an example's scored steps."""
        values_RKB = class_losses(prediction_RKBO, batch)
        if batch.mask is None or self.scored_steps == "recall":
            return example_mean(values_RKB)
        return example_mean(values_RKB, batch.mask.transpose(0, 1)[:, -len(batch.target) :])

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): share of the recalled symbols that are right."""
        recalled = prediction_RKBO[:, -self.symbols :].argmax(-1)
        right = recalled == batch.target.transpose(0, 1)[:, -self.symbols :]
        return right.to(prediction_RKBO.dtype).transpose(1, 2).contiguous().mean(-1)

    def solved(self, loss: float, metric: float) -> bool:
        return metric >= self.solved_accuracy

    def describe(self, generator: Generator) -> str:
        """Input over target; `.` is blank, `!` the marker, and the target's unscored steps are left empty."""
        names = [".", *(chr(ord("a") + i) if i < 26 else "?" for i in range(self.alphabet)), "!"]
        drawn = self.draw(1, generator)
        batch = self.write(drawn)
        codes = self.classes(batch)[:, 0]
        start = 0 if batch.mask is None else int((~batch.mask[:, 0]).sum())
        above = " " * start + "".join(names[c] for c in codes.tolist()[start:])
        below = "".join(names[c] for c in batch.target[:, 0].tolist()).rjust(self.steps)
        return f"input   {above}\ntarget  {' ' * start}{below[start:]}"
