"""The adding problem: markers, target, the two plateaus, varying lengths."""

from typing import Any

import pytest
import torch
from support import component

from rnnlab.streams import generator
from rnnlab.tasks.adding import Adding
from rnnlab.tasks.task import stack

VARIANTS = [
    pytest.param({"markers": markers, "shortest": shortest}, id=f"{markers}, shortest {shortest}")
    for markers in ("halves", "anywhere")
    for shortest in (None, 2)
]


def adding(**changes: Any) -> Adding:
    return component("task", "adding", **{"length": 9, "batch": 2000, **changes})


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("length", [9, 10])
def test_two_numbers_are_marked_and_the_target_is_their_sum(length: int, changes: dict) -> None:
    batch = adding(length=length, **changes).training_batch(0, 1)
    values, marks = batch.input.unbind(-1)
    assert ((marks == 0) | (marks == 1)).all()
    assert (marks.sum(0) == 2).all(), "two different places"
    torch.testing.assert_close((values * marks).sum(0), batch.target[0])
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() < 1
    if batch.mask is not None:
        assert not (marks * ~batch.mask).any(), "a mark where the example has no step"


@pytest.mark.parametrize("changes", VARIANTS)
def test_it_knows_its_marked_steps(changes: dict) -> None:
    task = adding(**changes)
    batch = task.training_batch(0, 1)
    marked = task.marked(batch)
    assert (marked.sum(0) == 2).all()
    torch.testing.assert_close((batch.input[..., 0] * marked).sum(0), batch.target[0])


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("length", [2, 3, 9, 10])
def test_marks_fall_where_they_may_and_everywhere_there(length: int, changes: dict) -> None:
    if changes["shortest"] == length:
        pytest.skip("nothing varies")
    batch = adding(length=length, batch=20000, **changes).training_batch(0, 1)
    first, second = batch.input[..., 1].T.nonzero()[:, 1].view(-1, 2).unbind(1)
    own = torch.full_like(first, length) if batch.mask is None else batch.mask.sum(0)
    first, second = first - (length - own), second - (length - own)
    assert ((first >= 0) & (first < second) & (second < own)).all()
    if changes["markers"] == "halves":
        assert (first < own // 2).all()
        assert (second >= own // 2).all()
    longest = own == length
    half = length // 2 if changes["markers"] == "halves" else length - 1
    assert set(first[longest].tolist()) == set(range(half))
    later = half if changes["markers"] == "halves" else 1
    assert set(second[longest].tolist()) == set(range(later, length))


def test_anywhere_draws_every_pair_equally_often() -> None:
    batch = adding(length=5, markers="anywhere", batch=20000).training_batch(0, 1)
    pairs = batch.input[..., 1].T.nonzero()[:, 1].view(-1, 2)
    counts = torch.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25)
    assert (counts > 0).sum() == 10
    torch.testing.assert_close(counts[counts > 0] / 20000, torch.full((10,), 0.1), rtol=0.1, atol=0)


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_plateaus_are_those_of_a_net_without_memory_and_of_one_with_one_addend(changes: dict) -> None:
    task = adding(batch=40000, length=8, **changes)
    batch = stack([task.training_batch(0, 1)])
    values, marks = batch.input[:, 0].unbind(-1)

    def mse(prediction_B: torch.Tensor) -> float:
        return task.losses(prediction_B.view(1, 1, -1, 1), batch).mean().item()

    always_one = torch.ones(40000)
    assert task.baseline == pytest.approx(1 / 6)
    assert mse(always_one) == pytest.approx(1 / 6, rel=0.02)
    assert mse(always_one + 0.05) > mse(always_one)
    assert mse(always_one - 0.05) > mse(always_one)
    at = marks.argmax(0, keepdim=True)
    first_addend = values.gather(0, at)[0]
    assert mse(first_addend + 0.5) == pytest.approx(1 / 12, rel=0.02)
    assert mse(batch.target[0, 0]) == 0.0


def test_the_metric_is_the_success_rule_of_pascanu() -> None:
    task = adding(batch=3)
    batch = stack([task.training_batch(0, 1)])
    off_by = torch.tensor([0.19, -0.19, 0.21])
    prediction = (batch.target[0, 0] + off_by).view(1, 1, 3, 1)
    assert task.metrics(prediction, batch).tolist() == [[1.0, 1.0, 0.0]]
    assert adding(solved_mse=0.05).solved(0.0499, 0.0)
    assert not adding(solved_mse=0.05).solved(0.05, 1.0)


def test_varying_lengths_are_right_aligned_and_cover_their_range() -> None:
    batch = adding(length=9, shortest=4).training_batch(0, 1)
    assert batch.mask is not None
    assert set(batch.mask.sum(0).tolist()) == {4, 5, 6, 7, 8, 9}
    assert batch.mask[-4:].all()
    assert (batch.mask[1:] >= batch.mask[:-1]).all()


def test_a_fixed_set_is_seen_once_per_epoch_in_orders_of_their_own() -> None:
    task = adding(examples=13, batch=4)
    epochs = []
    for epoch in range(4):
        batches = [task.training_batch(5, 1 + 3 * epoch + k) for k in range(3)]
        epochs.append([target for batch in batches for target in batch.target[0].tolist()])
    assert all(len(set(epoch)) == 12 for epoch in epochs), "no example twice; one of 13 is left over"
    assert len(set().union(*epochs)) == 13, "and another one every epoch"
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = [t for k in range(3) for t in task.training_batch(6, 1 + k).target[0].tolist()]
    assert not set(other) & set(epochs[0]), "another seed has another set"


def test_held_out_numbers_are_in_no_training_batch() -> None:
    task = adding(batch=50)
    held_out = {tuple(x) for x in next(task.evaluation_batches(250)).input[..., 0].T.tolist()}
    for seed in range(4):
        for step in range(1, 12):
            trained = {tuple(x) for x in task.training_batch(seed, step).input[..., 0].T.tolist()}
            assert not held_out & trained


def test_an_example_as_text() -> None:
    lines = adding(length=4).describe(generator(0, "example")).splitlines()
    numbers = lines[0].split()[1:]
    marked = [number for k, number in enumerate(numbers) if lines[1].ljust(40)[8 + 5 * k : 12 + 5 * k] == "  ^ "]
    assert len(numbers) == 4
    if len(marked) == 1:  # the last mark's blank is stripped
        marked.append(numbers[-1])
    assert sum(map(float, marked)) == pytest.approx(float(lines[2].split()[1]), abs=0.0101)
