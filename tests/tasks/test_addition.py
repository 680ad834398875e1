"""Addition in characters: what a question says, which pairs are held out, and the loss of whoever saw no question."""

import itertools
import math
from contextlib import suppress
from typing import Any

import pytest
import torch
from support import component, composed, leaf

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.laws.law import LAWS, Law, NotConcernedError
from rnnlab.laws.subject import Subject
from rnnlab.schema import validate
from rnnlab.streams import generator
from rnnlab.tasks.addition import CHARACTERS, Addition, answer_shares, held_out
from rnnlab.tasks.task import Batch, stack

FORMS = list(itertools.product(("appended", "decoded"), (False, True), (1, 2, 4)))


def addition(**changes: Any) -> Addition:
    return component("task", "addition", **{"batch": 500, **changes})


def spelt(classes_TB: torch.Tensor) -> list[str]:
    return ["".join(CHARACTERS[one] for one in column) for column in classes_TB.T.tolist()]


def asked_and_told(task: Addition, batch: Batch) -> list[tuple[str, str]]:
    """(question as it is written by hand, answer), both without blanks."""
    assert (batch.input.sum(-1) == 1).all()
    questions = spelt(batch.input.argmax(-1)[: 2 * task.digits + 1])
    if task.reversed:
        questions = [question[::-1] for question in questions]
    answers = spelt(batch.target)
    for one, room in [*((q, 2 * task.digits + 1) for q in questions), *((a, task.digits + 1) for a in answers)]:
        assert len(one) == room
        assert one == one.strip().ljust(room), "blanks stand behind"
    return [(q.strip(), a.strip()) for q, a in zip(questions, answers, strict=True)]


@pytest.mark.parametrize(("answer", "backwards", "digits"), FORMS)
def test_the_answer_is_the_sum_of_the_question(answer: str, backwards: bool, digits: int) -> None:
    task = addition(answer=answer, reversed=backwards, digits=digits)
    batch = task.training_batch(0, 1)
    assert task.scored == digits + 1
    assert task.steps == (2 * digits + 1 if answer == "decoded" else 3 * digits + 2)
    lengths = set()
    for question, told in asked_and_told(task, batch):
        first, second = question.split("+")
        assert str(int(first) + int(second)) == told
        assert (first, second) == (str(int(first)), str(int(second))), "no leading zeros"
        lengths |= {len(first), len(second)}
    assert lengths >= set(range(max(1, digits - 1), digits + 1))
    if answer == "appended":
        assert set(spelt(batch.input.argmax(-1)[-task.scored :])) == {" " * task.scored}


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_no_held_out_pair_is_trained_on_in_any_order(digits: int) -> None:
    task = addition(digits=digits)

    def pairs(batch: Batch) -> set[tuple[int, ...]]:
        return {tuple(sorted(map(int, question.split("+")))) for question, _ in asked_and_told(task, batch)}

    held = set().union(*(pairs(batch) for batch in task.evaluation_batches(1000)))
    trained = set().union(*(pairs(task.training_batch(seed, step)) for seed in (0, 1) for step in (1, 2, 3, 4)))
    assert held
    assert not held & trained
    fixed = addition(digits=digits, examples=600)
    assert not held & pairs(fixed.training_batch(0, 1))
    everything = torch.cartesian_prod(torch.arange(10**digits), torch.arange(10**digits))
    assert torch.equal(held_out(everything), held_out(everything.flip(1)))
    if digits > 1:
        assert held_out(everything).double().mean().item() == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_the_baseline_is_the_entropy_of_each_character_over_all_questions(digits: int) -> None:
    sums: dict[int, float] = {}
    for a, b in itertools.product(range(10**digits), repeat=2):
        sums[a + b] = sums.get(a + b, 0) + 1 / 100**digits
    entropy = 0.0
    for place in range(digits + 1):
        shares: dict[str, float] = {}
        for total, share in sums.items():
            character = str(total).ljust(digits + 1)[place]
            shares[character] = shares.get(character, 0) + share
        for character, share in shares.items():
            assert answer_shares(digits)[place, CHARACTERS.index(character)].item() == pytest.approx(share, abs=1e-12)
        entropy -= sum(share * math.log(share) for share in shares.values())
    assert addition(digits=digits).baseline == pytest.approx(entropy / (digits + 1), abs=1e-11)


def test_who_says_the_shares_stands_at_the_baseline() -> None:
    """On questions drawn from training and held-out pairs alike, as they were before the two were parted."""
    task = addition(batch=60_000, digits=2)
    batch = stack([task.write((task._pairs(60_000, generator(0, "data")),))])
    prediction = answer_shares(2).log().clamp(min=-50).view(1, 3, 1, 11).expand(1, 3, 60_000, 11)
    assert task.losses(prediction, batch).mean().item() == pytest.approx(task.baseline, rel=0.005)


def test_an_answer_is_right_when_every_character_is() -> None:
    task = addition(batch=3)
    batch = stack([task.training_batch(0, 1)])
    prediction = torch.nn.functional.one_hot(batch.target[:, 0], 11).float().unsqueeze(0)
    prediction[0, 2, 1] = prediction[0, 2, 1].roll(1)
    assert task.metrics(prediction, batch).tolist() == [[1.0, 0.0, 1.0]]
    assert (task.losses(100 * prediction, batch)[0] < 1e-4).tolist() == [True, False, True]


@pytest.mark.parametrize("changes", [["task.digits=7"], ["task.examples=100"]])
def test_what_cannot_be_asked_is_refused(changes: list[str]) -> None:
    key = changes[0].split("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}=.*not allowed"):
        validate(composed("task=addition", *changes))


def test_a_decoded_answer_needs_a_decoder() -> None:
    decoded = ["task=addition", "task.answer=decoded"]
    with pytest.raises(
        ConfigError, match=r"^task\.answer=decoded: not allowed. It needs an architecture with a decoder"
    ):
        validate(composed(*decoded))
    assert build(validate(composed(*decoded, "architecture=encoder_decoder"))).task.scored == 3


@pytest.mark.parametrize("rule", [rule for rule in LAWS if rule.groups == ("task",)], ids=lambda rule: rule.name)
def test_the_decoded_form_obeys_the_laws_of_tasks(rule: Law) -> None:
    with suppress(NotConcernedError):
        rule.hold(Subject.of(leaf("task", "addition", answer="decoded", reversed=False), None, None))


def test_an_example_as_text() -> None:
    lines = addition(reversed=False, digits=3).describe(generator(0, "example")).splitlines()
    asked, told = (line.split()[1] for line in lines)
    assert len(asked) == 11
    assert sum(map(int, asked.strip("_").split("+"))) == int(told.strip("_"))
    assert len(lines[0]) == len(lines[1]), "the answer stands below the steps at which it is due"
