"""What a run needs at least, in named terms. Every size is a Python integer: none overflows.

T time, R replica, B batch, I input, H hidden, S state component, K scored step, O output, E held-out example.
"""

import math
from dataclasses import dataclass

import torch

from rnnlab.architectures.model import Model
from rnnlab.config import Config
from rnnlab.memory.available import Room
from rnnlab.memory.size import size
from rnnlab.tasks.task import CHUNK, Generated, Task, drawn_ahead, target_shape

PHASES = ("backward", "update", "evaluation")
"""Moments at which different things are in memory: the backward pass's begin, the update, an evaluation."""
BEYOND = 2**63
"""Bytes of what has more numbers than 64 bits can count."""


@dataclass(frozen=True)
class Sketch:
    """What a run's memory follows from, made without allocating any.

    model: of one replica, on torch's `meta` device; None where it cannot be made there.
    countless: that is because it is too large for torch to count.
    kept: numbers per replica that the forward pass keeps for the backward pass.
    remembered: numbers that the optimiser keeps per learned one.
    drawn: bytes of an example of a fixed set; 0 where there is none.
    last: how many trailing outputs a training step needs.
    """

    config: Config
    task: Task
    model: Model | None
    countless: bool
    states: int
    kept: int
    remembered: int
    drawn: int
    last: int


@dataclass(frozen=True)
class Term:
    """Bytes of one thing, and in which phases it is there. `what` is a plural."""

    what: str
    bytes: int
    during: tuple[str, ...] = PHASES


@dataclass(frozen=True)
class Need:
    """A lower bound of a run's memory, beside what the program itself takes, and what there is.

    record: bytes of the adjoint norms recorded up to the last step; not in `bytes`, since they only come to be.
    """

    terms: tuple[Term, ...]
    record: int
    room: Room

    @property
    def bytes(self) -> int:
        """In the phase that needs most."""
        return max(sum(term.bytes for term in self.terms if phase in term.during) for phase in PHASES)

    @property
    def fits(self) -> bool:
        return self.bytes <= self.room.left

    @property
    def largest(self) -> Term:
        return max(self.terms, key=lambda term: term.bytes)

    def most(self, count: int = 3) -> str:
        """The largest terms in words."""
        largest = sorted(self.terms, key=lambda term: -term.bytes)[:count]
        return ", ".join(f"{term.what} {size(term.bytes)}" for term in largest)

    def __str__(self) -> str:
        text = f"needs about {size(self.bytes)} of {size(self.room.bytes)}"
        if self.record < max(self.bytes, 2**20):
            return text
        text += f", and {size(self.record)} more by its last step for the adjoint norms (probe.every)"
        return text + (": more than there is" if self.bytes + self.record > self.room.left else "")


def needed(sketch: Sketch, room: Room) -> Need:
    """The terms of a run."""
    config, task = sketch.config, sketch.task
    R, B, H, item = len(config.seeds), task.batch, config.components["cell"]["hidden"], _item(config)
    T, I, O, E, K = task.steps, task.inputs, task.outputs, config.evaluate_examples, task.scored
    learned, fixed = _weights(sketch)
    told = math.prod(target_shape(task, 1))
    held_out = isinstance(task, Generated)  # other examples are in memory already
    examples = config.components["task"].get("examples") or 0
    recordings = 1 + config.steps // config.probe_every if config.probe_every else 0
    terms = (
        Term("the weights with what the optimiser remembers", R * item * (learned * (1 + sketch.remembered) + fixed)),
        Term("the gradients with a copy of the weights", 2 * R * item * learned, ("update",)),
        Term("the states kept for the backward pass", R * item * sketch.kept, ("backward",)),
        Term("the outputs of a training step", R * B * item * sketch.last * O, ("backward",)),
        Term("the adjoint norms of one recording", (recordings > 0) * 8 * sketch.states * T * R * B, ("backward",)),
        Term("the training batches", R * B * (item * T * I + 4 * told)),
        # As they are drawn: float32, whatever the run computes with.
        Term("the batches drawn ahead", (drawn_ahead(R) - 1) * R * B * 4 * (T * I + told), ("backward", "update")),
        Term("the held-out examples", held_out * E * (item * T * I + 4 * told)),
        Term("the fixed sets of examples", R * examples * sketch.drawn),
        Term("the outputs of an evaluation", R * min(E, CHUNK) * item * K * (H + O), ("evaluation",)),
    )
    return Need(terms, recordings * R * sketch.states * T * 8, room)


def _item(config: Config) -> int:
    dtype: torch.dtype = getattr(torch, config.dtype)
    return dtype.itemsize


def _weights(sketch: Sketch) -> tuple[int, int]:
    """Learned numbers of a replica, and those that it keeps beside."""
    if sketch.model is None:
        return (BEYOND if sketch.countless else 0), 0
    learned, fixed = sketch.model.parameters(), sketch.model.buffers()
    return sum(p.numel() for p in learned), sum(b.numel() for b in fixed)
