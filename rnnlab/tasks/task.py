"""What a task is.

A task scores the last `scored` steps of its sequences. Sequences of different lengths are right-aligned, so that the
last step is the end of each, and a mask tells which steps an example has.

T time, B batch, I input, K scored steps, R replica, O output.
"""

import functools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.contract import ConfigError
from rnnlab.streams import CPU


@dataclass(frozen=True)
class Batch:
    """Examples of one replica, or, after `stack`, of a population (then with an axis R before B).

    input: (T, B, I) floating point.
    target: (K, B) class indices, or floating point for regression; (K, B, P) floating point where every scored step
        has a vector of P numbers to be told, the pixels of a frame say.
    mask: (T, B) bool, False where an example has no such step; None when all have all.
    """

    input: Tensor
    target: Tensor
    mask: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        target = self.target.to(device, dtype if self.target.is_floating_point() else None)
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(self.input.to(device, dtype), target, mask)

    def target_outputs(self, outputs: int) -> Tensor:
        """(K, R, B, O): the targets of a population's batch as a perfect net would put them out: a class as one-hot."""
        if self.target.is_floating_point():  # a number, or a vector of them
            return self.target.unsqueeze(-1) if self.target.dim() == 3 else self.target
        return functional.one_hot(self.target, outputs).to(self.input.dtype)

    def shared(self, replicas: int) -> "Batch":
        """The same examples for every replica, without a copy."""

        def widen(x: Tensor) -> Tensor:
            return x.unsqueeze(1).expand(x.shape[0], replicas, *x.shape[1:])

        return Batch(widen(self.input), widen(self.target), None if self.mask is None else widen(self.mask))


def stack(batches: list[Batch]) -> Batch:
    """Replicas side by side: the axis R before B."""
    masks = [b.mask for b in batches if b.mask is not None]
    return Batch(
        torch.stack([b.input for b in batches], dim=1),
        torch.stack([b.target for b in batches], dim=1),
        torch.stack(masks, dim=1) if masks else None,
    )


RESERVED = ("step", "seed", "split", "loss", "baseline", "solved", "grad_norm", "clip_fraction", "lr", "penalty")
"""What else stands in a line of metrics, and no metric can be called."""


@dataclass(frozen=True)
class Metric:
    """A task's metric: the one place that knows how it is to be read.

    Args:
        name: as it stands in files: `accuracy`.
        unit: of its numbers, in words.
        better: which of two is better.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]

    @property
    def worst(self) -> float:
        """What a replica that diverged counts as."""
        return math.inf if self.better == "lower" else -math.inf

    def best(self, *values: float) -> float:
        """Of those that are numbers; NaN where none is."""
        numbers = [value for value in values if not math.isnan(value)] or [math.nan]
        return min(numbers) if self.better == "lower" else max(numbers)


class Task(Protocol):
    """Data, loss, baseline and the rule that says when the task counts as solved.

    One that reads data files has a property `files` besides, their paths: their content then belongs to the identity
    of a run. One whose held-out examples have a number has a property `held_out`, that number. One whose targets are
    vectors has a property `targets`, their length P. One that has a single sequence, to be memorised, has a property
    `single`, True: every example of every batch is that sequence, and so is its one held-out example. One of
    images has a property `image`, their (channels, height, width), whether a step reads a pixel or a whole frame.
    """

    batch: int
    """Examples per training step and replica."""
    inputs: int
    outputs: int
    steps: int
    """Time steps of the longest sequence, T."""
    scored: int
    """How many trailing steps are scored, K."""
    baseline: float
    """Loss of the best strategy that remembers nothing, same unit as the loss."""
    metric: Metric
    """What is told of a prediction besides its loss."""
    unit: str
    """Unit of the loss."""
    solved_when: str
    """The solving rule, in words and in its own unit."""

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        """The batch of one seed's training step (1-based), made on the device.

        A function of (seed, step) alone, for one kind of device.
        """
        ...

    def evaluation_batches(self, examples: int) -> Iterable[Batch]:
        """Held-out examples, the same for every seed; best one after the other, so that it can be interrupted.

        Fewer where there are not so many; where there are more, a random choice of them that is always the same.
        """
        ...

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): each example's loss."""
        ...

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): each example's metric."""
        ...

    def solved(self, loss: float, metric: float) -> bool:
        """Whether an evaluation with this loss and metric solves the task."""
        ...

    def describe(self, generator: Generator) -> str:
        """One example, drawn as text."""
        ...


def check_metric(task: Task) -> None:
    """Refuse a metric that nobody could read, with ConfigError."""
    metric: object = task.metric
    if not isinstance(metric, Metric):
        raise ConfigError(
            f"task: its metric is {metric!r}. Give a Metric(name, unit, better) of rnnlab.tasks.task: whether higher "
            "or lower is better nobody else knows."
        )
    if metric.name in RESERVED:
        raise ConfigError(f"task: its metric may not be called {metric.name}, nor {', '.join(RESERVED)}.")


@runtime_checkable
class Marks(Protocol):
    """A task that knows which input steps its answer depends on."""

    def marked(self, batch: Batch) -> Tensor:
        """(T, B) or, of a population's batch, (T, R, B) bool: those steps; at least one in every example."""
        ...


def target_shape(task: Task, examples: int) -> tuple[int, ...]:
    """Of a batch's target: (K, B), or (K, B, P) where targets are vectors."""
    length: int | None = getattr(task, "targets", None)
    return (task.scored, examples) if length is None else (task.scored, examples, length)


def evaluated_on(task: Task, examples: int) -> str:
    """Which held-out examples an evaluation is over, in words."""
    held_out: int | None = getattr(task, "held_out", None)
    if getattr(task, "single", False):
        return "the sequence that it is trained on"
    if held_out is None:
        return f"{examples} generated examples"
    return f"all {held_out} held-out examples" if examples >= held_out else f"a fixed random {examples} of {held_out}"


EVALUATION_SEED = 2**32
"""No replica can have it: evaluation data are held out."""
CHUNK = 250
"""Examples evaluated at once."""


def drawn_ahead(replicas: int) -> int:
    """How many training steps' batches are drawn at once; eight batches over all replicas, where those are few."""
    return max(1, 8 // replicas)


def example_mean(values_RKB: Tensor, weights_KB: Tensor | None = None) -> Tensor:
    """Mean over K per example, (R, B), summed along contiguous memory so that it does not depend on R."""
    values_RBK = values_RKB.transpose(1, 2).contiguous()
    if weights_KB is None:
        return values_RBK.mean(-1)
    weights_RBK = weights_KB.transpose(1, 2).to(values_RBK.dtype).contiguous()
    return (values_RBK * weights_RBK).sum(-1) / weights_RBK.sum(-1)


def class_losses(prediction_RKBO: Tensor, batch: Batch) -> Tensor:
    """(R, K, B): cross-entropy in nats of the class at every scored step."""
    R, K, B, O = prediction_RKBO.shape
    target = batch.target.transpose(0, 1).reshape(-1)
    return functional.cross_entropy(prediction_RKBO.reshape(-1, O), target, reduction="none").view(R, K, B)


@runtime_checkable
class Generated(Hashable, Protocol):
    """A task whose examples are generated: drawn in a compact form, and written out as sequences per batch."""

    @property
    def batch(self) -> int: ...
    @property
    def examples(self) -> int | None: ...

    def draw(self, n: int, generator: Generator) -> tuple[Tensor, ...]:
        """n examples in the task's compact form: tensors (n, ...)."""
        ...

    def write(self, drawn: Any) -> Batch:
        """The sequences of drawn examples."""
        ...


def drawn_training_batch(task: Generated, seed: int, step: int, device: torch.device) -> Batch:
    """Fresh examples, or those of the seed's fixed set whose turn it is."""
    if task.examples is None:
        return task.write(task.draw(task.batch, streams.generator(seed, "data", step, device)))
    take = epoch_indices(seed, step, task.batch, task.examples, device)
    return task.write(tuple(part[take] for part in _fixed_set(task, seed, task.examples, device)))


@functools.lru_cache(maxsize=64)
def _fixed_set(task: Generated, seed: int, examples: int, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(part.to(device) for part in task.draw(examples, streams.generator(seed, "set")))


def drawn_evaluation_batches(
    task: Generated, examples: int, draw: Callable[[int, Generator], Any] | None = None
) -> Iterator[Batch]:
    """Held-out examples, CHUNK at a time.

    Args:
        draw: what they are drawn by where it is not as the others are: from parts that no training example is made of.
    """
    for i, at in enumerate(range(0, examples, CHUNK)):
        drawn = (draw or task.draw)(min(CHUNK, examples - at), streams.generator(EVALUATION_SEED, "evaluation", i))
        yield task.write(drawn)


def epoch_indices(seed: int, step: int, batch: int, examples: int, device: torch.device) -> Tensor:
    """Which examples of a fixed set the step-th batch (1-based) takes: every epoch in an order of its own.

    An epoch has examples // batch batches; what is left over is not drawn in that epoch. The order is the same on
    every device.
    """
    per_epoch = examples // batch
    epoch, at = divmod(step - 1, per_epoch)
    return _epoch_order(seed, epoch, examples, device)[at * batch : (at + 1) * batch]


@functools.lru_cache(maxsize=256)
def _epoch_order(seed: int, epoch: int, examples: int, device: torch.device) -> Tensor:
    return torch.randperm(examples, generator=streams.generator(seed, "order", epoch)).to(device)
