"""Words run together: what can be predicted of them, and where they end."""

import math

import pytest
import torch
from support import component
from torch.nn import functional

from rnnlab.tasks.task import stack
from rnnlab.tasks.words import Words


def words(**changes: object) -> Words:
    return component("task", "words", **changes)


@pytest.mark.technique("task=words")
@pytest.mark.parametrize("separator", [False, True])
def test_a_stream_is_words_of_the_vocabulary_and_ends_tell_where_they_end(separator: bool) -> None:
    task = words(separator=separator)
    vocabulary, batch = task.vocabulary(), task.training_batch(0, 1)
    ends = task.ends(batch)
    assert len({word[0] for word in vocabulary}) == task.words
    assert sorted({len(word) - separator for word in vocabulary}) == [3, 4, 5, 6]
    assert torch.equal(batch.input.argmax(-1)[1:], batch.target[:-1])
    for b in range(task.batch):
        word: list[int] = []
        for letter, end in zip(batch.input[:, b].argmax(-1).tolist(), ends[:, b].tolist(), strict=True):
            word.append(letter)
            assert (word in vocabulary) if end else (word[0] in {w[0] for w in vocabulary})
            word = [] if end else word
    assert torch.equal(task.ends(stack([batch, batch]))[:, 1], ends)


@pytest.mark.parametrize("changes", [{}, {"separator": True}, {"words": 3, "alphabet": 5, "longest": 3}], ids=str)
def test_baseline_and_floor_are_the_losses_of_the_best_with_and_without_memory(changes: dict[str, int]) -> None:
    task = words(**changes, length=40)
    batch = next(iter(task.evaluation_batches(250)))
    now, after, ends = batch.input.argmax(-1), batch.target, task.ends(batch)
    # Where a word has ended ln V is lost, and nothing elsewhere.
    assert ends.double().mean().item() * math.log(task.words) == pytest.approx(task.floor, rel=0.03)
    counts = torch.zeros(task.inputs, task.inputs).double()
    counts.index_put_((now.flatten(), after.flatten()), torch.ones(now.numel()).double(), accumulate=True)
    prediction = (counts / counts.sum(1, keepdim=True).clamp(min=1)).log()[now]
    loss = functional.cross_entropy(prediction.flatten(0, 1), after.flatten()).item()
    assert loss == pytest.approx(task.baseline, rel=0.03)
    assert task.floor < task.baseline
    assert task.solved(task.floor, 1.0)
    assert not task.solved((task.floor + task.baseline) / 2, 1.0)


def test_the_floor_is_exact_where_all_words_are_as_long() -> None:
    task = words(shortest=4, longest=4, length=41)
    assert task.floor == pytest.approx(10 * math.log(8) / 41, rel=1e-12)
