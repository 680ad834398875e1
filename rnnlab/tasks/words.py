"""Words run together, to be predicted letter by letter (Elman 1990)."""

import functools
import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.contract import Count, OpenShare, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.task import (
    EVALUATION_SEED,
    Batch,
    Metric,
    class_losses,
    drawn_evaluation_batches,
    drawn_training_batch,
    example_mean,
)


@component
class Words:
    """Predict the next of a stream's letters, which are words of a small vocabulary, with nothing between them.

    Every word is as likely as any other, whatever was before. No two begin with the same letter, so the first letter
    tells the word, and with that how it goes on and where it ends; after the last letter every word may follow. Their
    other letters all have in common. Word k has shortest, shortest + 1, ..., longest letters in turn; the letters are
    drawn once and for all. What a net cannot know is the word that follows: `floor` is the loss that this leaves.

    `ends` tells which steps are a word's last: what a net with boundaries may be held to.

    Args:
        length: T, letters of a sequence.
        batch: examples per training step.
        words: how many, V.
        alphabet: how many letters, at least as many as there are words.
        shortest, longest: letters of a word.
        separator: whether a symbol of its own stands behind every word.
        examples: None for fresh examples at every step; else the size of a fixed set, reshuffled every epoch.
        solved_share: solved when this share of what memory can take off the loss is gone: from `baseline` to `floor`.
    """

    length: Count
    batch: Count
    words: Count
    alphabet: Count
    shortest: Count
    longest: Count
    separator: bool
    examples: Count | None
    solved_share: OpenShare

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parts["architecture"].looks_ahead:
            return f"Its next input is its answer, which {plan.chosen('architecture')} would read first"
        if self.words < 2:
            return {"words": "With one word there is nothing to predict; at least 2"}
        if not self.words <= self.alphabet <= 256:
            return {"alphabet": f"From task.words={self.words}, each of which begins with another letter, to 256"}
        if not 2 <= self.shortest <= 100:
            return {"shortest": "From 2 (a word that ends with its first letter has nothing to remember) to 100"}
        if not self.shortest <= self.longest <= 100:
            return {"longest": f"From task.shortest={self.shortest} to 100"}
        if self.length < self.longest + self.separator:
            return {"length": "A sequence has at least one word; give more, or a smaller task.longest"}
        if self.examples is not None and self.examples < self.batch:
            return {"examples": f"A fixed set holds at least task.batch={self.batch}"}
        return None

    @property
    def inputs(self) -> int:
        return self.alphabet + self.separator

    @property
    def outputs(self) -> int:
        return self.inputs

    @property
    def steps(self) -> int:
        return self.length

    @property
    def scored(self) -> int:
        return self.length

    metric: ClassVar[Metric] = Metric("accuracy", "share of letters that are the likeliest guess", "higher")
    unit: ClassVar[str] = "nats per letter"

    @property
    def solved_when(self) -> str:
        return f"loss <= {self._bar:.4g} ({self.solved_share:.0%} of the way from the baseline to {self.floor:.4g})"

    @property
    def baseline(self) -> float:
        """Of a net that knows the letter before it and no more."""
        return _losses(self)[0]

    @property
    def floor(self) -> float:
        """Of one that knows all: ln V for each word that begins."""
        return _losses(self)[1]

    @property
    def _bar(self) -> float:
        return self.baseline - self.solved_share * (self.baseline - self.floor)

    def vocabulary(self) -> list[list[int]]:
        """The words, as class numbers; the separator, where there is one, is the last class."""
        draw = streams.generator(EVALUATION_SEED, "set")
        firsts = torch.randperm(self.alphabet, generator=draw)[: self.words].tolist()
        found = []
        for k, first in enumerate(firsts):
            more = self.shortest + k % (self.longest - self.shortest + 1) - 1
            rest = torch.randint(self.alphabet, (more,), generator=draw).tolist()
            found.append([first, *rest, *([self.alphabet] if self.separator else [])])
        return found

    # Examples are kept as the words that are drawn, more than a sequence has room for.
    def draw(self, n: int, generator: Generator) -> tuple[Tensor]:
        most = self.length // (self.shortest + self.separator) + 2
        device = generator.device
        return (torch.randint(self.words, (n, most), generator=generator, dtype=torch.uint8, device=device),)

    def write(self, drawn: tuple[Tensor]) -> Batch:
        words_NW, vocabulary = drawn[0], self.vocabulary()
        rows = [[letter for word in words for letter in vocabulary[word]] for words in words_NW.tolist()]
        stream_TN = torch.tensor([row[: self.length + 1] for row in rows], device=words_NW.device)
        stream_TN = stream_TN.reshape(len(rows), self.length + 1).T
        return Batch(
            functional.one_hot(stream_TN[:-1], self.inputs).to(torch.get_default_dtype()), stream_TN[1:].contiguous()
        )

    def ends(self, batch: Batch) -> Tensor:
        """(T, B) or (T, R, B) bool: the steps that are the last of a word."""
        letters, vocabulary = batch.input.argmax(-1), self.vocabulary()
        length_of = torch.zeros(self.inputs, dtype=torch.long, device=letters.device)
        for word in vocabulary:
            length_of[word[0]] = len(word)
        left = torch.zeros_like(letters[0])
        ends = []
        for now in letters:
            left = torch.where(left == 0, length_of[now], left) - 1
            ends.append(left == 0)
        return torch.stack(ends)

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return drawn_training_batch(self, seed, step, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        return drawn_evaluation_batches(self, examples)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats, mean over the letters."""
        return example_mean(class_losses(prediction_RKBO, batch))

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): share of the letters that are right."""
        right = prediction_RKBO.argmax(-1) == batch.target.transpose(0, 1)
        return right.to(prediction_RKBO.dtype).transpose(1, 2).contiguous().mean(-1)

    def solved(self, loss: float, metric: float) -> bool:
        return loss <= self._bar

    def describe(self, generator: Generator) -> str:
        """Input over target, and a bar under the last letter of each word."""
        names = [chr(ord("a") + i) if i < 26 else "?" for i in range(self.alphabet)] + [" "] * self.separator
        batch = self.write(self.draw(1, generator))
        rows = (batch.input[:, 0].argmax(-1), batch.target[:, 0])
        above, below = ("".join(names[c] for c in row.tolist()) for row in rows)
        return f"input   {above}\ntarget  {below}\nends    {''.join('.|'[e] for e in self.ends(batch)[:, 0].tolist())}"


@functools.lru_cache(maxsize=256)
def _losses(task: Words) -> tuple[float, float]:
    """Baseline and floor, exactly: by the probability that a word begins at each step, a renewal process."""
    vocabulary, T, V, classes = task.vocabulary(), task.length, task.words, task.inputs
    begins = [1.0]
    for t in range(1, T + 1):
        begins.append(sum(begins[t - len(word)] for word in vocabulary if t >= len(word)) / V)
    pairs = torch.zeros(classes, classes, dtype=torch.float64)  # how often a letter is followed by another
    for word in vocabulary:
        for place, letter in enumerate(word):
            count = sum(begins[: max(0, T - place)]) / V
            if place + 1 < len(word):
                pairs[letter, word[place + 1]] += count
            else:
                for other in vocabulary:
                    pairs[letter, other[0]] += count / V
    shares = pairs / pairs.sum(1, keepdim=True).clamp(min=1e-300)
    return -torch.special.xlogy(pairs, shares).sum().item() / T, math.log(V) * sum(begins[1:]) / T
