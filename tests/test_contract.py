"""Signatures are read without importing, values are checked in one place, components validate themselves."""

import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from rnnlab.activations.modrelu import ModReLU
from rnnlab.clipping.norm import NormClipping
from rnnlab.contract import (
    BelowOne,
    ConfigError,
    Count,
    CountOrZero,
    Finite,
    NonNegative,
    Percentage,
    Positive,
    Repeats,
    Seed,
    Share,
    check_component,
    check_value,
    required_by,
    signature_of,
)
from rnnlab.optimisers.adam import Adam
from rnnlab.spelling import nearest

LARGE, NAN, INF = 3.4e38, float("nan"), float("inf")
KINDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "Count": (Count, [1, 1.0, 1e4, 10**12, 2**53 - 1], [0, -1, 1.5, 2**53, 1e30, NAN, INF, True, "1", None, [1]]),
    "CountOrZero": (CountOrZero, [0, 0.0, 7, 1e15], [-1, 0.5, 10**20, False, "0", None]),
    "Repeats": (Repeats, [1, 1000.0], [0, 1001, 1e15, True]),
    "Seed": (Seed, [0, 3.0, 2**32 - 1], [-1, 2**32, True, "3"]),
    "Finite": (Finite, [-LARGE, 0, 0.5, -3], [1e39, -1e39, NAN, INF, -INF, "0.5", True, None]),
    "Positive": (Positive, [1e-300, 1, LARGE], [0, 0.0, -1.0, 1e39, NAN, INF, "1", True]),
    "NonNegative": (NonNegative, [0, 0.0, 1, LARGE], [-1e-9, 1e39, NAN, INF, "0"]),
    "Share": (Share, [0, 0.5, 1], [-0.1, 1.1, NAN, INF, "1"]),
    "BelowOne": (BelowOne, [0, 0.999], [1, 1.0, -0.1, NAN, "0.5"]),
    "Percentage": (Percentage, [0, 12.5, 100], [-1, 100.1, NAN, "5"]),
    "Literal": (Literal["a", "b"], ["a", "b"], ["c", "", 1, None, ["a"]]),
    "Count or None": (Count | None, [None, 2, 3.0], [0, "2", 2.5]),
}
GOOD = [(name, value) for name, (_, good, _) in KINDS.items() for value in good]
BAD = [(name, value) for name, (_, _, bad) in KINDS.items() for value in bad]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_good_value_keeps_its_worth(kind: str, value: Any) -> None:
    assert check_value("key", value, KINDS[kind][0]) == value


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(kind: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        check_value("some.key", value, KINDS[kind][0])
    assert str(caught.value).startswith(f"some.key={value}: not allowed. some.key must be ")
    assert "\n" not in str(caught.value)


PLUGIN = '''
"""A component of the user's own."""
raise RuntimeError("reading a signature must not import it")

@component
class Fields:
    """d."""
    first: Positive
    second: Literal["x", "y"]
    third: Count | None
    own: SomethingElse
    optional: float = 1.0
    constant: ClassVar[int] = 3

class Module(Base):
    @checked
    def __init__(self, *, hidden: Count, shift: Finite = 0.0, activation: Factory, replicas: Count) -> None: ...

@component
class Renamed(Elsewhere):
    """It inherits, and has no fields."""

class Helper(Fields):
    """Not marked: what it inherits does not count."""

@component
def function(*, scale: Positive): ...
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "plugged").mkdir()
    (tmp_path / "plugged" / "__init__.py").write_text("")
    (tmp_path / "plugged" / "part.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "plugged.part"
    sys.modules.pop("plugged", None)


def test_a_signature_is_read_from_the_source_and_not_imported(plugin: str) -> None:
    assert signature_of(f"{plugin}.Fields") == {
        "first": Positive,
        "second": Literal["x", "y"],
        "third": Count | None,
        "own": None,
        "optional": float,
    }
    module = {"hidden": Count, "shift": Finite, "activation": None, "replicas": Count}
    assert signature_of(f"{plugin}.Module") == module
    assert signature_of(f"{plugin}.function") is None
    assert not {"plugged", plugin} & set(sys.modules)


def test_what_has_no_default_and_is_not_context_is_required(plugin: str) -> None:
    assert required_by(f"{plugin}.Fields") == ["first", "second", "third", "own"]
    assert required_by(f"{plugin}.Module") == ["hidden"]


@pytest.mark.parametrize("target", ["part.Nothing", "nowhere.Fields", "Fields"])
def test_a_target_that_is_not_there_has_no_signature(plugin: str, target: str) -> None:
    assert signature_of(f"plugged.{target}") is None
    with pytest.raises(ConfigError, match=rf"^cell\._target_=plugged\.{target}: no such class was found"):
        check_component("cell", {"_target_": f"plugged.{target}"}, ["rnnlab", "plugged"])


@pytest.mark.parametrize("target", ["json.loads", "sys.exit", "math.sqrt", ".x", "rnnlab"])
def test_a_strange_target_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match=r"^cell\._target_="):
        check_component("cell", {"_target_": target}, ["rnnlab", "math", "", "sys"])


def test_only_allowed_packages_are_loaded(plugin: str) -> None:
    config = {"_target_": f"{plugin}.Module", "hidden": 2}
    with pytest.raises(ConfigError, match=r"components from these packages are loaded: rnnlab. Add a package of yours"):
        check_component("cell", config, ["rnnlab"])
    assert check_component("cell", config, ["rnnlab", "plugged"]) == config


@pytest.mark.parametrize("name", ["function", "Helper", "Positive", "component", "Fields.second", "__name__"])
def test_only_what_is_marked_in_its_own_source_is_a_component(plugin: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^cell\._target_={plugin}\.{name}: "):
        check_component("cell", {"_target_": f"{plugin}.{name}"}, ["plugged"])
    assert not {"plugged", plugin} & set(sys.modules)


@pytest.mark.parametrize("target", [None, 3, ["x"]])
def test_a_component_needs_a_target(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"^cell: has no _target_\. Choose an option of the group: cell=OPTION"):
        check_component("cell", {"_target_": target}, ["rnnlab"])


def test_values_of_a_kind_that_is_not_ours_are_passed_on(plugin: str) -> None:
    config = {"_target_": f"{plugin}.Fields", "first": 1, "second": "x", "third": None, "own": {"any": ["thing"]}}
    assert check_component("cell", config, ["plugged"]) == config


def test_a_missing_key_is_named_and_one_with_a_default_is_not(plugin: str) -> None:
    with pytest.raises(ConfigError, match=r"^cell\.second: missing"):
        check_component("cell", {"_target_": f"{plugin}.Fields", "first": 1.0}, ["plugged"])
    config = {"_target_": f"{plugin}.Module", "hidden": 4}
    assert check_component("cell", config, ["plugged"]) == config


def test_the_nearest_word_is_offered_only_when_it_is_near() -> None:
    assert nearest("hiden", ["hidden", "bias"]) == " Did you mean 'hidden'?"
    assert nearest("zzz", ["hidden", "bias"]) == ""


@pytest.mark.parametrize(
    "make",
    [
        lambda: NormClipping(max_norm=0.0),
        lambda: NormClipping(max_norm="1"),
        lambda: NormClipping(),
        lambda: NormClipping(max_norm=1.0, other=2),
        lambda: ModReLU(bias_range=-0.1, replicas=1, units=2),
        lambda: ModReLU(bias_range=0.1, replicas=0, units=2),
        lambda: ModReLU(bias_range=0.1, replicas=1, units=2.5),
    ],
)
def test_components_validate_themselves_when_they_are_made(make: Any) -> None:
    with pytest.raises(ValidationError):
        make()


def test_components_are_keyword_only_frozen_and_compare_by_value() -> None:
    with pytest.raises((TypeError, ValidationError)):
        NormClipping(1.0)
    made = NormClipping(max_norm=2.0)
    with pytest.raises(AttributeError):
        made.max_norm = 3.0
    assert made == NormClipping(max_norm=2)
    assert hash(made) == hash(NormClipping(max_norm=2.0))
    assert made != NormClipping(max_norm=3.0)
    assert type(NormClipping(max_norm=2).max_norm) is float
    assert [*signature_of("rnnlab.optimisers.adam.Adam")] == [*Adam.__dataclass_fields__]
