"""Fields and constructors are inherited: what is read from the sources is what Python and dataclasses make of them."""

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from rnnlab.contract import (
    ConfigError,
    Count,
    Finite,
    NonNegative,
    Positive,
    Share,
    check_component,
    is_component,
    required_by,
    signature_of,
)
from rnnlab.make import make

BASES = '''
from torch import nn
from rnnlab.contract import Count, Finite, Positive, Share, checked, component, fields

@fields
class Shared:
    """Two fields, and no component."""
    lr: Positive
    decay: Finite = 0.5

@component
class Whole(Shared):
    """A component that others inherit from."""
    count: Count

class Unmarked(Whole):
    ignored: Positive

class Made(nn.Module):
    @checked
    def __init__(self, *, hidden: Count, replicas: Count, gain: Finite = 1.0) -> None:
        super().__init__()
        self.hidden = hidden
'''
PARTS = """
import inherit.bases as other
import inherit.bases
from inherit import bases
from rnnlab.clipping.norm import NormClipping
from rnnlab.contract import Count, NonNegative, Positive, Share, component, fields
from .bases import Made, Shared as Renamed, Unmarked, Whole
from . import Exported

@component
class OwnLast(Renamed):
    share: Share

@component
class Alike(Renamed):
    "Nothing of its own."

@component
class Again(Renamed):
    share: Share
    lr: NonNegative
    decay: Positive = 2.0

@component
class Below(Whole):
    share: Share

@component
class ThroughUnmarked(Unmarked):
    share: Share

@component
class ThroughModule(other.Shared):
    share: Share

@component
class ThroughPackage(bases.Whole, inherit.bases.Shared):
    share: Share

@component
class ThroughExport(Exported):
    share: Share

@fields
class Left(Renamed):
    left: Count

@fields
class Right(Renamed):
    right: Count

@component
class Diamond(Left, Right):
    own: Count

@component
class SameConstructor(Made):
    "As it is."

@component
class OwnConstructor(Made):
    def __init__(self, *, width: Count) -> None:
        super().__init__(hidden=width, replicas=1)

@component
class Ours(NormClipping):
    share: Share

    def __call__(self, step):
        return super().__call__(step)
"""
CIRCLE = """
from .circle import Imported
class Circle(Circle): ...
class There(Back): ...
class Back(There, Unknown[int], call()): ...
"""
ORDER = {
    "OwnLast": ["lr", "decay", "share"],
    "Alike": ["lr", "decay"],
    "Again": ["lr", "decay", "share"],
    "Below": ["lr", "decay", "count", "share"],
    "ThroughUnmarked": ["lr", "decay", "count", "share"],
    "ThroughModule": ["lr", "decay", "share"],
    "ThroughPackage": ["lr", "decay", "count", "share"],
    "ThroughExport": ["lr", "decay", "share"],
    "Diamond": ["lr", "decay", "right", "left", "own"],
    "SameConstructor": ["hidden", "replicas", "gain"],
    "OwnConstructor": ["width"],
    "Ours": ["max_norm", "share"],
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    files = {"__init__": "from .bases import Shared as Exported", "bases": BASES, "parts": PARTS, "circle": CIRCLE}
    (tmp_path / "inherit").mkdir()
    for name, text in files.items():
        (tmp_path / "inherit" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "inherit.parts"
    for name in [name for name in sys.modules if name.partition(".")[0] == "inherit"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ORDER)
def test_what_is_read_is_what_the_class_is_made_with(package: str, name: str) -> None:
    read, required = signature_of(f"{package}.{name}"), required_by(f"{package}.{name}")
    assert list(read or {}) == ORDER[name]
    assert not [module for module in sys.modules if module.startswith("inherit")]
    real = getattr(import_module(package), name)
    arguments = inspect.signature(real).parameters
    assert list(arguments) == ORDER[name]
    assert required == [n for n, p in arguments.items() if p.default is p.empty and n != "replicas"]
    assert is_component(real)


def test_the_kind_of_a_field_is_the_last_one_declared(package: str) -> None:
    assert signature_of(f"{package}.Again") == {"lr": NonNegative, "decay": Positive, "share": Share}
    assert signature_of(f"{package}.SameConstructor") == {"hidden": Count, "replicas": Count, "gain": Finite}


def test_an_inherited_field_is_checked_like_one_s_own(package: str) -> None:
    config = {"_target_": f"{package}.Ours", "max_norm": 1.0, "share": 0.5}
    assert check_component("clipping", config, ["inherit"]) == config
    for wrong in ({"max_norm": -1.0}, {"max_nrom": 1.0}, {"share": 2.0}):
        with pytest.raises(ConfigError, match=rf"^clipping\.{next(iter(wrong))}="):
            check_component("clipping", {**config, **wrong}, ["inherit"])
    with pytest.raises(ConfigError, match=r"^clipping\.max_norm: missing"):
        check_component("clipping", {"_target_": f"{package}.Ours", "share": 0.5}, ["inherit"])
    assert not [module for module in sys.modules if module.startswith("inherit")]


def test_it_is_made_with_them(package: str) -> None:
    made = make("clipping", {"_target_": f"{package}.Ours", "max_norm": 1, "share": 0.5}, ["rnnlab", "inherit"])
    assert (made.max_norm, made.share) == (1.0, 0.5)
    with pytest.raises(AttributeError):
        made.max_norm = 2.0


@pytest.mark.parametrize("name", ["parts.Left", "bases.Shared", "bases.Unmarked", "parts.Renamed", "Exported"])
def test_what_only_gives_fields_is_no_component(package: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^clipping\._target_=inherit\.{name}: "):
        check_component("clipping", {"_target_": f"inherit.{name}"}, ["inherit"])
    assert not [module for module in sys.modules if module.startswith("inherit")]


@pytest.mark.parametrize(
    "name", ["circle.Circle", "circle.There", "circle.Imported", "circle.Nothing", "nowhere.Shared"]
)
def test_a_class_above_itself_or_nowhere_ends(package: str, name: str) -> None:
    assert not signature_of(f"inherit.{name}")
