"""What somebody gave, as a message shows it: one line, bounded."""

from pathlib import Path

import pytest

from rnnlab.messages import LONGEST_LINE, LONGEST_PATH, LONGEST_VALUE, listed, one_line, shown, told


@pytest.mark.parametrize(
    "value", ["x" * 10_000, [1] * 5000, {"a": "b" * 99}, 10**5000, "\n" * 100, "\x1b[2J" * 50], ids=type
)
def test_a_long_value_is_cut_and_says_how_long_it_is(value):
    text = shown(value)
    assert len(text) <= LONGEST_VALUE
    assert text.isprintable()
    assert "characters)" in text or "too large to show" in text


@pytest.mark.parametrize("value", ["", "a b", "é", [1, 2], None, {"a": 1}, "x" * LONGEST_VALUE])
def test_a_short_value_is_as_it_is(value):
    assert shown(value) == str(value)


def test_what_cannot_be_printed_is_escaped():
    assert shown("a\nb\t\x00\x1b\u2028\udc80\ufeff") == "a\\nb\\t\\x00\\x1b\\u2028\\udc80\\ufeff"


def test_a_path_keeps_its_end():
    text = shown(Path("/" + "d" * 5000 + "/mine.yaml"))
    assert text.endswith("/mine.yaml")
    assert len(text) == LONGEST_PATH


def test_a_value_that_contains_itself_is_shown():
    value = []
    value.append(value)
    assert shown(value) == "[[...]]"


def test_long_words_of_others_long_lines_and_long_lists_are_cut():
    assert one_line("a\n  b\tc") == "a b c"
    assert len(one_line("word " * 500)) <= 300
    assert [len(line) for line in told("x" * 9999 + "\ny")] == [LONGEST_LINE, 1]
    names = [f"name{k}" for k in range(100)]
    assert listed(names).endswith(", … (100 in all)")
    assert listed(names).startswith("name0, name1, ")
    assert listed(names[:3]) == "name0, name1, name2"
    assert listed([]) == "none"
