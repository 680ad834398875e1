"""Copy memory: the published layouts, the closed-form baseline, fixed sets and varying lags."""

import math
from typing import Any

import pytest
import torch
from support import component
from torch import Tensor

from rnnlab.streams import generator
from rnnlab.tasks.copy import Copy
from rnnlab.tasks.task import stack


def copy(**changes: Any) -> Copy:
    return component("task", "copy", **{"length": 5, "symbols": 3, "alphabet": 4, **changes})


def classes(input_TBI: Tensor) -> list[list[int]]:
    """Each example's class numbers, from either form of input."""
    codes = input_TBI[..., 0].long() if input_TBI.shape[-1] == 1 else input_TBI.argmax(-1)
    return codes.T.tolist()


@pytest.mark.parametrize("form", ["one_hot", "scalar"])
@pytest.mark.parametrize(
    ("marker", "after"),
    [
        # length - 1 blanks, the marker, and the recall starts one step after it (uRNN, scoRNN, nnRNN)
        ("before_recall", [0, 0, 0, 0, 5, 0, 0, 0]),
        # length blanks, and the first symbol is due at the marker (expRNN, GeoTorch)
        ("at_recall", [0, 0, 0, 0, 0, 5, 0, 0]),
    ],
)
def test_the_layout_is_the_published_one(marker: str, after: list[int], form: str) -> None:
    batch = copy(marker=marker, input=form).training_batch(0, 1)
    for codes, target in zip(classes(batch.input), batch.target.T.tolist(), strict=True):
        symbols = codes[:3]
        assert all(1 <= symbol <= 4 for symbol in symbols)
        assert codes == symbols + after
        assert target == [0] * 8 + symbols
        recall_starts = 8
        assert codes.index(5) == recall_starts - (marker == "before_recall")


@pytest.mark.parametrize("marker", ["before_recall", "at_recall"])
def test_the_smallest_case_is_right(marker: str) -> None:
    codes = classes(copy(length=1, symbols=1, marker=marker).training_batch(0, 1).input)
    assert [c[1:] for c in codes] == [[5, 0] if marker == "before_recall" else [0, 5]] * len(codes)


@pytest.mark.parametrize("form", ["one_hot", "scalar"])
@pytest.mark.parametrize("shortest", [None, 2])
def test_its_marked_steps_are_those_of_the_symbols(form: str, shortest: int | None) -> None:
    task = copy(input=form, shortest=shortest)
    batch = task.training_batch(0, 1)
    marked = task.marked(batch)
    assert (marked.sum(0) == 3).all()
    shown = torch.tensor(classes(batch.input))[marked.T].view(-1, 3)
    assert torch.equal(shown, batch.target[-3:].T)


def test_scalar_input_is_the_class_number_of_the_one_hot() -> None:
    scalar, one_hot = (copy(input=form, shortest=2).training_batch(1, 7) for form in ("scalar", "one_hot"))
    assert classes(scalar.input) == classes(one_hot.input)
    assert torch.equal(scalar.target, one_hot.target)
    assert (one_hot.input.sum(-1) == 1).all()
    assert one_hot.input.shape[-1] == 6


def test_recall_scoring_keeps_the_last_steps_of_the_same_sequence() -> None:
    everything, recall = (copy(scored_steps=which).training_batch(0, 1) for which in ("all", "recall"))
    assert torch.equal(everything.input, recall.input)
    assert torch.equal(everything.target[-3:], recall.target)


@pytest.mark.parametrize(
    ("T", "published"),
    [(100, 0.17329), (200, 0.09452), (300, 0.06498), (500, 0.03999), (1000, 0.02039), (2000, 0.01029)],
)
def test_the_baseline_is_the_published_one(T: int, published: float) -> None:
    task = component("task", "copy", length=T)
    assert task.baseline == pytest.approx(published, abs=5e-6)
    assert task.steps == T + 20
    recall = component("task", "copy", length=T, scored_steps="recall")
    assert recall.baseline == pytest.approx(math.log(8))


@pytest.mark.parametrize("shortest", [None, 2])
@pytest.mark.parametrize("scored", ["all", "recall"])
@pytest.mark.parametrize("marker", ["before_recall", "at_recall"])
def test_the_baseline_is_the_loss_of_the_best_net_without_memory(
    marker: str, scored: str, shortest: int | None
) -> None:
    """It says blank until the recall starts, and then gives every symbol the same probability."""
    task = copy(marker=marker, scored_steps=scored, shortest=shortest, length=9, batch=20000)
    batch = stack([task.training_batch(0, 1)])

    def loss(favoured: float) -> float:
        prediction = torch.full((1, task.scored, 1, task.outputs), -60.0)
        prediction[:, :, :, 0] = 60.0
        prediction[:, -3:, :, 0] = -60.0
        prediction[:, -3:, :, 1:] = 0.0
        prediction[:, -3:, :, 1] = favoured
        return task.losses(prediction.expand(1, task.scored, 20000, task.outputs), batch).mean().item()

    assert loss(0.0) == pytest.approx(task.baseline, rel=1e-6 if shortest is None else 5e-3)
    assert loss(0.3) > loss(0.0)
    assert loss(-0.3) > loss(0.0)


def test_every_symbol_is_equally_frequent() -> None:
    target = copy(scored_steps="recall", batch=20000).training_batch(0, 1).target
    share = torch.bincount(target.flatten(), minlength=5) / target.numel()
    torch.testing.assert_close(share, torch.tensor([0, 0.25, 0.25, 0.25, 0.25]), rtol=0, atol=0.01)


def test_varying_lags_are_right_aligned_and_cover_their_range() -> None:
    task = copy(length=5, shortest=2, batch=200)
    batch = task.training_batch(0, 1)
    assert batch.mask is not None
    lags = batch.mask.sum(0) - 6
    assert set(lags.tolist()) == {2, 3, 4, 5}
    for codes, target, lag in zip(classes(batch.input), batch.target.T.tolist(), lags.tolist(), strict=True):
        start = 5 - lag
        symbols = codes[start : start + 3]
        assert codes == [0] * start + symbols + [0] * (lag - 1) + [5] + [0] * 3
        assert target == [0] * 8 + symbols


def test_the_loss_of_a_varying_lag_counts_an_example_s_own_steps_only() -> None:
    task = copy(length=5, shortest=2, batch=50)
    batch = stack([task.training_batch(0, 1)])
    assert batch.mask is not None
    prediction = torch.zeros(1, task.scored, 50, task.outputs)
    unseen = ~batch.mask[:, 0]
    disturbed = prediction.clone()
    disturbed[0][unseen] = 100 * torch.eye(5)[1]  # surely wrong, where an example has no step
    assert torch.equal(task.losses(prediction, batch), task.losses(disturbed, batch))
    torch.testing.assert_close(task.losses(prediction, batch), torch.full((1, 50), math.log(5)))


def test_the_metric_is_the_share_of_recalled_symbols() -> None:
    task = copy(batch=2)
    batch = task.training_batch(0, 1)
    prediction = torch.nn.functional.one_hot(batch.target, task.outputs).float().transpose(0, 1)
    prediction = prediction.transpose(0, 1).unsqueeze(0)  # (R, K, B, O)
    assert task.metrics(prediction, stack([batch])).tolist() == [[1.0, 1.0]]
    wrong = prediction.clone()
    wrong[0, -1, 1] = prediction[0, -1, 1].roll(1)
    assert task.metrics(wrong, stack([batch])).tolist() == [[1.0, pytest.approx(2 / 3)]]
    wrong[0, 0, 0] = prediction[0, 0, 0].roll(1)  # not a recalled step
    assert task.metrics(wrong, stack([batch]))[0, 0] == 1.0


def test_a_fixed_set_is_seen_once_per_epoch_in_orders_of_their_own() -> None:
    task = copy(examples=12, batch=4, symbols=8, alphabet=8)
    epochs = []
    for epoch in range(3):
        batches = [task.training_batch(5, 1 + 3 * epoch + k) for k in range(3)]
        epochs.append([tuple(example) for batch in batches for example in batch.target[-8:].T.tolist()])
    assert len(set(epochs[0])) == 12
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_example_as_text() -> None:
    lines = copy(input="scalar").describe(generator(0, "example")).splitlines()
    symbols = lines[0][8:11]
    assert lines == [f"input   {symbols}....!...", f"target  ........{symbols}"]
    recall = copy(scored_steps="recall").describe(generator(0, "example")).splitlines()
    assert recall == [lines[0], f"target          {symbols}"]
    short = copy(shortest=2, length=30).describe(generator(0, "example")).splitlines()
    assert short[0].startswith("input    "), "a short sequence is drawn right-aligned"
    assert len(short[0]) == len(short[1])
