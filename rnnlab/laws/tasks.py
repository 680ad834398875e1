"""Laws of tasks, with each of what they leave out switched on by itself: fixed sets, shorter sequences.

T time, B batch, I input, K scored steps, R replica, O output, P numbers of a target.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnlab.contract import ConfigError
from rnnlab.laws.candidates import allowed
from rnnlab.laws.company import refuse_misfit
from rnnlab.laws.ground import uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import NotConcernedError, hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.streams import generator
from rnnlab.tasks.task import Batch, Marks, Task, check_metric, stack, target_shape


@observed("task")
def _batch_and_losses(subject: Subject) -> list[Tensor]:
    task: Task = subject.make()
    batch = task.training_batch(0, 1)
    prediction = uniform(1, task.scored, batch.input.shape[1], task.outputs, seed=1)
    levels = torch.linspace(0, 1, 1001).tolist()
    solved = torch.tensor([[task.solved(level, 0.0), task.solved(1.0, level)] for level in levels])
    return [*_tensors(batch), task.losses(prediction, stack([batch])), solved]


def _tensors(batch: Batch) -> list[Tensor]:
    return [part for part in (batch.input, batch.target, batch.mask) if part is not None]


def _hold_alike(found: Batch, expected: Batch, what: str) -> None:
    hold((found.mask is None) == (expected.mask is None), f"{what}: one has a mask")
    for a, b in zip(_tensors(found), _tensors(expected), strict=True):
        hold_same(a, b, what)


def _variants(subject: Subject) -> Iterator[Subject]:
    """As it is, and with each key that is null set to the first value that is taken."""
    yield subject
    for name in [name for name, value in subject.values.items() if value is None]:
        for value in allowed(f"{subject.key}.{name}", subject.kinds[name]):
            variant = subject.changed(**{name: value})
            try:
                refuse_misfit(variant)
                variant.make()
            except ConfigError:
                continue
            yield variant
            break


def _each_variant(one: Callable[[Subject], None]) -> Callable[[Subject], None]:
    def each(subject: Subject) -> None:
        for variant in _variants(subject):
            one(variant)

    each.__name__ = one.__name__
    return each


@law("task")
@_each_variant
def a_batch_has_the_shapes_that_the_task_declares(subject: Subject) -> None:
    task = subject.make()
    evaluation = list(task.evaluation_batches(7))
    given, there = sum(batch.input.shape[1] for batch in evaluation), min(7, getattr(task, "held_out", 7))
    hold(given == there, f"{given} held-out examples, asked for 7")
    for batch, B in [(task.training_batch(0, 1), task.batch), *((e, e.input.shape[1]) for e in evaluation)]:
        shapes = {"input": tuple(batch.input.shape), "target": tuple(batch.target.shape)}
        declared = {"input": (task.steps, B, task.inputs), "target": target_shape(task, B)}
        hold(shapes == declared, f"{shapes}, declared {declared}")
        hold(batch.input.is_floating_point() and torch.isfinite(batch.input).all(), "inputs are no finite numbers")
        if batch.mask is not None:
            hold(batch.mask.shape == (task.steps, B), f"the mask is {tuple(batch.mask.shape)}")
            hold(batch.mask.dtype == torch.bool, f"the mask is of {batch.mask.dtype}")
            hold(batch.mask[-1].all(), "sequences do not end together")
            hold((batch.mask[1:] >= batch.mask[:-1]).all(), "a sequence has gaps")
        hold(batch.target.ndim == 2 or batch.target.is_floating_point(), f"vectors of {batch.target.dtype} as targets")
        if not batch.target.is_floating_point():
            known = batch.target.min() >= 0 and batch.target.max() < task.outputs
            hold(known, f"classes from {batch.target.min()} to {batch.target.max()} of {task.outputs}")


@law("task")
@_each_variant
def a_training_batch_is_a_function_of_seed_and_step(subject: Subject) -> None:
    task = subject.make()
    before = torch.get_rng_state()
    later, first = task.training_batch(3, 2), task.training_batch(3, 1)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    again = subject.make()
    _hold_alike(again.training_batch(3, 1), first, "seed 3, step 1, asked for after step 2, and before it")
    _hold_alike(again.training_batch(3, 2), later, "seed 3, step 2, likewise")
    if getattr(task, "single", False):
        _hold_single(task)
        return
    hold(not torch.equal(first.input, later.input), "two steps have one batch")
    hold(not torch.equal(first.input, task.training_batch(4, 1).input), "two seeds have one batch")


def _hold_single(task: Task) -> None:
    """Every example is the same sequence."""
    (held_out,) = task.evaluation_batches(7)
    hold(held_out.input.shape[1] == 1, f"{held_out.input.shape[1]} held-out examples of a single sequence")
    for seed, step in ((3, 1), (3, 2), (4, 1)):
        batch = task.training_batch(seed, step)
        for found, only in zip(_tensors(batch), _tensors(held_out), strict=True):
            hold_same(found, only.expand_as(found), f"the batch of seed {seed}, step {step}, and the single sequence")


@law("task")
@_each_variant
def evaluation_examples_are_always_the_same(subject: Subject) -> None:
    one, other = subject.make(), subject.make()
    one.training_batch(0, 1)
    batches = list(one.evaluation_batches(300))
    for a, b in zip(batches, other.evaluation_batches(300), strict=True):
        _hold_alike(a, b, "300 held-out examples, twice")
    more, fewer = (torch.cat([b.input for b in given], dim=1) for given in (batches, other.evaluation_batches(250)))
    hold_same(more[:, : fewer.shape[1]], fewer, "the beginning of 300 held-out examples, and 250")


@law("task")
@_each_variant
def losses_and_metrics_are_per_replica_and_example(subject: Subject) -> None:
    task, seeds = subject.make(), [0, 1, 2]
    batches = [task.training_batch(seed, 1) for seed in seeds]
    prediction = uniform(3, task.scored, task.batch, task.outputs, seed=6, dtype=torch.float32)
    for what, measured in (("losses", task.losses), ("metrics", task.metrics)):
        together = measured(prediction, stack(batches))
        hold(together.shape == (3, task.batch), f"{what} are {tuple(together.shape)}, not (R, B)")
        hold((together >= 0).all(), f"{what} below 0")
        for r in seeds:
            alone = measured(prediction[r : r + 1], stack([batches[r]]))
            hold_same(alone, together[r : r + 1], f"{what} of replica {r} alone, and in a population")


@law("task")
@_each_variant
def marked_steps_are_steps_that_the_examples_have(subject: Subject) -> None:
    task: Task = subject.make()
    marks: object = task
    if not isinstance(marks, Marks):
        raise NotConcernedError
    batches = [task.training_batch(seed, 1) for seed in (0, 1)]
    marked = marks.marked(stack(batches))
    form = (marked.dtype, tuple(marked.shape))
    hold(form == (torch.bool, (task.steps, 2, task.batch)), f"marks are {form}")
    hold(marked.any(0).all(), "an example has no mark")
    hold(not marked.all(0).any(), "an example has nothing but marks")
    for r, batch in enumerate(batches):
        hold_same(marks.marked(batch), marked[:, r], f"marks of replica {r} alone, and in a population")
        hold(batch.mask is None or not (marked[:, r] & ~batch.mask).any(), "a mark where an example has no step")


@law("task")
@_each_variant
def it_says_what_it_is_and_when_it_is_solved(subject: Subject) -> None:
    task = subject.make()
    check_metric(task)
    hold(math.isfinite(task.baseline) and task.baseline > 0, f"its baseline is {task.baseline}")
    for words in (task.metric.name, task.metric.unit, task.unit, task.solved_when):
        hold(isinstance(words, str) and words, f"{words!r} among its metric, units and rule")
    text = task.describe(generator(0, "example"))
    hold("input" in text and "target" in text, f"an example is drawn without the words input and target: {text}")
    hold(text == task.describe(generator(0, "example")), "an example is drawn in two ways from one generator")
    best = 1.0 if task.metric.better == "higher" else 0.0
    hold(task.solved(0.0, best), "a loss of 0 does not solve it")
    hold(not task.solved(task.baseline, 1.0 - best), f"the baseline {task.baseline:.3g} solves it")
