"""The Tomita languages: is a string of 0 and 1 in the language? (Tomita 1982)."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab.contract import Count, Share, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.task import Batch, Metric, drawn_evaluation_batches, drawn_training_batch

END = 2
"""The symbol after a string's last one."""


@component
class Tomita:
    """Read a string over 0 and 1 and an end symbol; say whether the string is in the language: class 1, else 0.

    The languages, with the states of their minimal automata:

    1. 1*: 2
    2. (10)*: 3
    3. after an odd run of 1 comes, anywhere later, no odd run of 0: 5. That is the reading of most papers; with
       `3_next`, no odd run of 0 comes right after one: 5
    4. no 000: 4
    5. an even number of 0 and an even number of 1: 4
    6. the number of 0 less that of 1 is a multiple of three: 3
    7. 0*1*0*1*: 5

    The class is a fair coin's, so that predicting 1/2 always gives ln 2; the length is then drawn from U{shortest, ...,
    length} less the lengths without a string of that class (an odd one in 2 and 5, say), and each string of that class
    and length is as likely as any other. Most languages are nearly empty among long strings, or nearly everything:
    with strings drawn evenly, a constant answer would be right nearly always.

    Args:
        grammar: number of the language, 1 to 7, or `3_next`.
        length: symbols of the longest string; a sequence has length + 1 steps.
        batch: examples per training step.
        shortest: symbols of the shortest string; None: all strings have `length`.
        examples: None for fresh examples at every step; else the size of a fixed set, reshuffled every epoch.
        solved_accuracy: solved when at least this share of the answers is right.
    """

    grammar: Literal[1, 2, 3, "3_next", 4, 5, 6, 7]
    length: Count
    batch: Count
    shortest: Count | None
    examples: Count | None
    solved_accuracy: Share

    inputs: ClassVar[int] = 3
    outputs: ClassVar[int] = 2
    scored: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("accuracy", "share of the strings", "higher")
    unit: ClassVar[str] = "nats"
    baseline: ClassVar[float] = math.log(2)

    def why_not(self, plan: Plan) -> Refusal:
        if self.shortest is not None and self.shortest >= self.length:
            return {"shortest": f"Below task.length={self.length}, or null for equal lengths"}
        if self.examples is not None and self.examples < self.batch:
            return {"examples": f"A fixed set holds at least task.batch={self.batch}"}
        for class_, lengths in enumerate(_walks(self.grammar, self.length).lengths):
            if not any(n >= (self.shortest or self.length) for n in lengths):
                verb = "accepts" if class_ else "rejects"
                return {"length": f"Grammar {self.grammar} {verb} no string of the lengths that are drawn"}
        return None

    @property
    def steps(self) -> int:
        return self.length + 1

    @property
    def solved_when(self) -> str:
        return f"accuracy >= {self.solved_accuracy:g}"

    # Examples are kept as (symbols (n, length), right-aligned, length (n,), class (n,)).
    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        walks, device = _walks(self.grammar, self.length), generator.device
        u_NT = torch.rand(n, self.length + 2, generator=generator, dtype=torch.float64, device=device)
        class_N = (u_NT[:, -1] < 0.5).long()
        shortest = self.shortest or self.length
        of_class = [torch.tensor([k for k in ks if k >= shortest], device=device) for ks in walks.lengths]
        rejected_N, accepted_N = (ks[(u_NT[:, -2] * len(ks)).long()] for ks in of_class)
        length_N = torch.where(class_N == 1, accepted_N, rejected_N)

        one, following = walks.one.to(device), walks.following.to(device)
        state_N, symbols = torch.zeros_like(length_N), list[Tensor]()
        for t in range(self.length):
            left = self.length - t  # symbols to come, this one too
            symbol_N = (u_NT[:, t] < one[left, state_N, class_N]).long()
            state_N = torch.where(length_N >= left, following[state_N, symbol_N], state_N)
            symbols.append(symbol_N.to(torch.uint8))
        return torch.stack(symbols, dim=1), length_N, class_N

    def write(self, drawn: tuple[Tensor, Tensor, Tensor]) -> Batch:
        symbols_NT, length_N, class_N = drawn
        classes_TN = functional.pad(symbols_NT.long(), (0, 1), value=END).T
        inputs = functional.one_hot(classes_TN, self.inputs).to(torch.get_default_dtype())
        mask = torch.arange(self.steps, device=length_N.device).unsqueeze(1) >= self.length - length_N
        # What was drawn before a string's beginning is not there.
        return Batch(inputs * mask.unsqueeze(-1), class_N.unsqueeze(0), None if self.shortest is None else mask)

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return drawn_training_batch(self, seed, step, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        return drawn_evaluation_batches(self, examples)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats."""
        chosen_RB1 = batch.target[0].unsqueeze(-1)
        return -prediction_RKBO[:, 0].log_softmax(-1).gather(-1, chosen_RB1).squeeze(-1)

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): 1 where the likelier class is right."""
        return (prediction_RKBO[:, 0].argmax(-1) == batch.target[0]).to(prediction_RKBO.dtype)

    def solved(self, loss: float, metric: float) -> bool:
        return metric >= self.solved_accuracy

    def describe(self, generator: Generator) -> str:
        """The string, its end `.`, and the verdict."""
        symbols_1T, length_1, class_1 = self.draw(1, generator)
        string = "".join(map(str, symbols_1T[0, self.length - int(length_1) :].tolist()))
        verdict = "accepted (class 1)" if class_1 else "rejected (class 0)"
        return f"input   {string}.\ntarget  {verdict} at the last step"


Grammar = int | str

AUTOMATA: dict[Grammar, tuple[tuple[tuple[int, int], ...], set[int]]] = {
    1: (((1, 0), (1, 1)), {0}),
    2: (((2, 1), (0, 2), (2, 2)), {0}),
    # No odd run of 1 yet; within one; then, after one: in an odd run of 0; not so; nothing helps.
    3: (((0, 1), (2, 0), (3, 4), (2, 3), (4, 4)), {0, 1, 3}),
    "3_next": (((0, 1), (2, 0), (3, 4), (2, 1), (4, 4)), {0, 1, 3}),
    4: (((1, 0), (2, 0), (3, 0), (3, 3)), {0, 1, 2}),
    5: (((1, 2), (0, 3), (3, 0), (2, 1)), {0}),
    6: (((1, 2), (2, 0), (0, 1)), {0}),
    7: (((0, 1), (2, 1), (2, 3), (4, 3), (4, 4)), {0, 1, 2, 3}),
}
"""The minimal automaton of each language: from each state, the initial one first, where 0 and 1 lead; which accept."""


@dataclass(frozen=True)
class _Walks:
    """Random walks through an automaton that end in a class, each string of that class and length as often.

    one: (length + 1, states, 2) float64: by symbols to come, state and class, the probability that the next is 1.
    following: (states, 2): where 0 and 1 lead.
    lengths: those of which there are rejected strings, and accepted ones.
    """

    one: Tensor
    following: Tensor
    lengths: tuple[list[int], list[int]]


@functools.lru_cache(maxsize=16)
def _walks(grammar: Grammar, length: int) -> _Walks:
    following, accepting = AUTOMATA[grammar]
    states, classes = range(len(following)), (0, 1)
    # From each state, how many strings of the length that is reached end in each class: whole numbers of any size.
    counts = [[int((state in accepting) == class_) for class_ in classes] for state in states]
    one, lengths = [[[0.0, 0.0] for _ in states]], ([], [])
    for n in range(1, length + 1):
        after = [[counts[following[state][symbol]] for symbol in (0, 1)] for state in states]
        counts = [[zero[c] + one_[c] for c in classes] for zero, one_ in after]
        one.append([[after[s][1][c] / (counts[s][c] or 1) for c in classes] for s in states])
        for c in classes:
            if counts[0][c]:
                lengths[c].append(n)
    return _Walks(torch.tensor(one, dtype=torch.float64), torch.tensor(following), lengths)
