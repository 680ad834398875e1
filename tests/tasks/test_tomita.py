"""The Tomita languages against definitions without automata; classes in balance, strings of a class all as likely."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import component, composed

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.example import show
from rnnlab.schema import validate
from rnnlab.streams import generator
from rnnlab.tasks.task import Batch, stack
from rnnlab.tasks.tomita import AUTOMATA, END, Grammar, Tomita


def odd_runs(string: str) -> list[str | None]:
    """Run by run: the symbol of an odd one, None for an even one."""
    return [symbol if len(list(run)) % 2 else None for symbol, run in itertools.groupby(string)]


def odd_zeros_after_odd_ones(string: str) -> bool:
    runs = odd_runs(string)
    return "1" in runs and "0" in runs[runs.index("1") :]


DEFINITIONS: dict[Grammar, Callable[[str], object]] = {
    1: lambda s: "0" not in s,
    2: lambda s: re.fullmatch("(10)*", s),
    3: lambda s: not odd_zeros_after_odd_ones(s),
    "3_next": lambda s: ("1", "0") not in itertools.pairwise(odd_runs(s)),
    4: lambda s: "000" not in s,
    5: lambda s: s.count("0") % 2 == s.count("1") % 2 == 0,
    6: lambda s: (s.count("0") - s.count("1")) % 3 == 0,
    7: lambda s: re.fullmatch("0*1*0*1*", s),
}
OF_LENGTH_TEN = {1: 1, 2: 1, 3: 274, "3_next": 312, 4: 504, 5: 512, 6: 342, 7: 176}
STATES = {1: 2, 2: 3, 3: 5, "3_next": 5, 4: 4, 5: 4, 6: 3, 7: 5}
each_grammar = pytest.mark.parametrize("grammar", DEFINITIONS)


def of_length(n: int) -> list[str]:
    return ["".join(symbols) for symbols in itertools.product("01", repeat=n)]


def ends(grammar: Grammar, string: str, state: int = 0) -> int:
    for symbol in string:
        state = AUTOMATA[grammar][0][state][int(symbol)]
    return state


def tomita(**changes: Any) -> Tomita:
    return component("task", "tomita", **{"length": 10, "batch": 4000, **changes})


def strings(batch: Batch) -> list[str]:
    """Of each example, without the end symbol."""
    classes, mask = batch.input.argmax(-1), torch.ones(batch.input.shape[:2], dtype=torch.bool)
    mask = mask if batch.mask is None else batch.mask
    return ["".join(map(str, c[m].tolist()[:-1])) for c, m in zip(classes.T, mask.T, strict=True)]


@each_grammar
def test_an_automaton_accepts_its_language(grammar: Grammar) -> None:
    accepting = AUTOMATA[grammar][1]
    for n in range(11):
        accepted = [s for s in of_length(n) if ends(grammar, s) in accepting]
        assert accepted == [s for s in of_length(n) if DEFINITIONS[grammar](s)]
    assert len(accepted) == OF_LENGTH_TEN[grammar]


@each_grammar
def test_an_automaton_is_minimal(grammar: Grammar) -> None:
    """Every state is reached, and every two are told apart by some string."""
    following, accepting = AUTOMATA[grammar]
    short = [s for n in range(6) for s in of_length(n)]
    assert {ends(grammar, s) for s in short} == set(range(len(following)))
    assert len(following) == STATES[grammar]
    verdicts = {tuple(ends(grammar, s, state) in accepting for s in short) for state in range(len(following))}
    assert len(verdicts) == len(following)


def test_what_tells_the_two_readings_of_the_third_apart() -> None:
    assert not DEFINITIONS[3]("100110")
    assert DEFINITIONS["3_next"]("100110")
    assert ends(3, "100110") not in AUTOMATA[3][1]
    assert ends("3_next", "100110") in AUTOMATA["3_next"][1]


@each_grammar
def test_the_target_is_the_verdict_and_the_classes_are_in_balance(grammar: Grammar) -> None:
    task = tomita(grammar=grammar, length=23)
    for batch in (task.training_batch(0, 1), *task.evaluation_batches(250)):
        found, target = strings(batch), batch.target[0].tolist()
        assert [bool(DEFINITIONS[grammar](s)) for s in found] == [bool(c) for c in target]
        off = abs(sum(target) / len(target) - 0.5)
        assert off < 4 * 0.5 / math.sqrt(len(target)), "four standard errors of a fair coin"


@each_grammar
def test_every_length_is_drawn_that_has_a_string_of_the_class(grammar: Grammar) -> None:
    found = strings(tomita(grammar=grammar).training_batch(1, 1))
    verdict = {n: {bool(DEFINITIONS[grammar](s)) for s in of_length(n)} for n in range(1, 11)}
    for class_ in (False, True):
        counts = Counter(len(s) for s in found if bool(DEFINITIONS[grammar](s)) == class_)
        assert set(counts) == {n for n in verdict if class_ in verdict[n]}
        assert max(counts.values()) < 1.5 * min(counts.values()), "evenly"


@each_grammar
def test_each_string_of_a_class_and_length_is_as_likely(grammar: Grammar) -> None:
    task = tomita(grammar=grammar, length=6, shortest=None, batch=20000)
    batch = task.training_batch(0, 1)
    assert batch.mask is None
    counts = Counter(strings(batch))
    assert set(counts) == set(of_length(6)), "every string there is"
    for class_ in (False, True):
        of_class = [counts[s] for s in of_length(6) if bool(DEFINITIONS[grammar](s)) == class_]
        expected = sum(of_class) / len(of_class)
        chi_square = sum((count - expected) ** 2 / expected for count in of_class)
        freedom = len(of_class) - 1
        assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 1e-9


def test_the_longest_strings_are_drawn_as_exactly() -> None:
    """There are 2^2000 of them: their numbers are no floating point's."""
    task = tomita(grammar=7, length=2000, shortest=1999, batch=50)
    batch = task.training_batch(0, 1)
    for string, class_ in zip(strings(batch), batch.target[0].tolist(), strict=True):
        assert len(string) in (1999, 2000)
        assert bool(re.fullmatch("0*1*0*1*", string)) == bool(class_)


def test_a_string_ends_at_the_last_step_and_is_not_there_before_it_begins() -> None:
    task = tomita(shortest=3)
    batch = task.training_batch(0, 1)
    assert batch.input.shape == (11, 4000, 3)
    assert batch.mask is not None
    assert (batch.input[-1].argmax(-1) == END).all()
    assert (batch.input[:-1, :, END] == 0).all()
    assert torch.equal(batch.input.sum(-1), batch.mask.to(batch.input.dtype)), "one symbol at each step that is there"
    assert set(batch.mask.sum(0).tolist()) == set(range(4, 12))


def test_no_answer_without_the_string_is_better_than_the_baseline() -> None:
    task = tomita()
    batch = stack([task.training_batch(0, 1)])
    undecided = torch.zeros(1, 1, 4000, 2)
    assert task.baseline == pytest.approx(math.log(2))
    torch.testing.assert_close(task.losses(undecided, batch), torch.full((1, 4000), math.log(2)))
    known = torch.nn.functional.one_hot(batch.target[0], 2).unsqueeze(1) * 50.0
    assert task.losses(known, batch).max() < 1e-6
    assert (task.metrics(known, batch) == 1).all()
    assert (task.metrics(-known, batch) == 0).all()
    assert task.solved(1.0, 0.999)
    assert not task.solved(0.0, 0.998)


@pytest.mark.parametrize(
    ("grammar", "length", "verb"), [(2, 7, "accepts"), (5, 7, "accepts"), (4, 2, "rejects"), (7, 3, "rejects")]
)
def test_lengths_without_a_string_of_a_class_are_refused(grammar: Grammar, length: int, verb: str) -> None:
    given = ["task=tomita", f"task.grammar={grammar}", f"task.length={length}", "engine=autograd", "cell.hidden=4"]
    config = validate(composed(*given, "task.shortest=null"))
    for use in (build, show):
        with pytest.raises(
            ConfigError, match=rf"task\.length={length}: not allowed\. Grammar {grammar} {verb} no string"
        ):
            use(config)
    if grammar in (2, 5):  # of the lengths up to 7 some will do
        build(validate(composed(*given)))


def test_an_example_as_text() -> None:
    for seed in range(5):
        first, second = tomita(grammar=6).describe(generator(seed, "example")).splitlines()
        string = first.removeprefix("input   ")
        assert string.endswith(".")
        verdict = "accepted (class 1)" if DEFINITIONS[6](string[:-1]) else "rejected (class 0)"
        assert second == f"target  {verdict} at the last step"
