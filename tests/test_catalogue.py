"""docs/techniques.md says what the options' YAML, docstrings and tests say."""

import pytest

from rnnlab.catalogue import GROUPS, main, marked_tests, techniques, title_and_paper


def test_the_page_is_up_to_date():
    assert main(["--check"]) == 0


def test_every_option_has_a_name_and_an_equation():
    found = techniques()
    assert {technique.group for technique in found} <= set(GROUPS)
    assert [technique.override for technique in found if not technique.name or not technique.equation] == []


def test_every_option_has_a_test_that_holds_its_law():
    assert [
        technique.override for technique in techniques() if not technique.tests and technique.option != "none"
    ] == []


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("The Elman net (Elman 1990).", ("The Elman net", "Elman 1990")),
        ("Units (A & B 1997) with\ngates (C 2000).\n\nMore (D 2001).", ("Units with gates", "A & B 1997; C 2000")),
        ("No paper (reset gate after).", ("No paper (reset gate after)", "")),
    ],
)
def test_a_docstring_s_first_paragraph_is_name_and_paper(docstring, expected):
    assert title_and_paper(docstring) == expected


def test_marks_are_read_from_tests(tmp_path):
    text = '@pytest.mark.technique("cell=a", "cell=b")\ndef test_it():\n    pass\n\n\ndef test_other():\n    pass\n'
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(text)
    assert marked_tests(tmp_path / "tests") == {option: ["tests/test_x.py::test_it"] for option in ("cell=a", "cell=b")}
