"""Every YAML of configs/ obeys the laws of its group: see rnnlab.laws."""

import pytest
from support import GROUPS, leaf, leaves, options

from rnnlab.groups import COMPONENTS
from rnnlab.groups import GROUPS as KEYS
from rnnlab.laws import check
from rnnlab.laws.knobs import observe
from rnnlab.laws.law import laws_of, same
from rnnlab.laws.subject import Subject


@pytest.mark.parametrize(("group", "option"), leaves(), ids=[f"{group}/{option}" for group, option in leaves()])
def test_it_obeys_the_laws_of_its_group(group: str, option: str) -> None:
    assert check(leaf(group, option))


def test_every_group_has_laws_of_its_own() -> None:
    own = {key: [law for law in laws_of(key) if law.groups and set(law.groups) != set(COMPONENTS)] for key in KEYS}
    assert [key for key in KEYS if not own[key]] == []


@pytest.mark.parametrize("group", GROUPS)
def test_choosing_another_option_changes_something(group: str) -> None:
    made = [observe(Subject.of(leaf(group, option), None, None)) for option in options(group)]
    for k, first in enumerate(made):
        assert not any(same(first, second) for second in made[:k])
