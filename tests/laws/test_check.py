"""rnnlab.laws.check finds what is wrong with a component of the user's own, and says which law that breaks."""

import subprocess
import sys
from importlib import import_module

import pytest

from rnnlab.laws import LawError, check
from rnnlab.laws.subject import Subject
from rnnlab.laws.training import a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped

RULES = '''
"""Clipping rules."""

import torch
from rnnlab.clipping.gradient_step import shorten
from rnnlab.contract import Positive, component


@component
class Good:
    """g <- g bound / |g| where that is longer.

    Args:
        bound: > 0.
    """

    bound: Positive

    def __call__(self, step):
        return shorten(step, self.bound)


@component
class Silent(Good):
    pass


@component
class Untold:
    """A rule."""

    bound: Positive

    def __call__(self, step):
        return shorten(step, self.bound)


@component
class Untyped(Good):
    """Of bound and other."""

    other: dict


@component
class Default(Good):
    """Of bound and other."""

    other: Positive = 2.0


@component
class Idle(Good):
    """Of bound, and of idle, which does nothing."""

    idle: Positive


@component
class Mixing(Good):
    """Of bound, and of the mean over replicas."""

    def __call__(self, step):
        for gradient in step.gradients.values():
            gradient.mul_(self.bound / step.norm_R.mean().clamp(min=1))
        return step.norm_R > self.bound


@component
class Ambient(Good):
    """Of bound, at random."""

    def __call__(self, step):
        for gradient in step.gradients.values():
            gradient.mul_(torch.rand(()) * self.bound)
        return step.norm_R > self.bound


@component
class Failing(Good):
    """Of bound."""

    def __call__(self, step):
        raise RuntimeError("out of order")


@component
class Counting(Good):
    """Of bound, and of how often it was asked, which no checkpoint knows."""

    def __call__(self, step):
        calls = self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        for gradient in step.gradients.values():
            gradient.mul_(self.bound / calls)
        return step.norm_R > 0


@component
class NoRule:
    """Nothing that a group has."""


class Unmarked(Good):
    pass
'''


@pytest.fixture
def rules(tmp_path, monkeypatch):
    (tmp_path / "ownrules.py").write_text(RULES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ownrules", raising=False)
    yield import_module("ownrules")
    monkeypatch.delitem(sys.modules, "ownrules", raising=False)


def test_a_good_one_obeys_whichever_way_it_is_given(rules) -> None:
    held = check(rules.Good)
    assert "a replica is clipped as alone step after step" in held
    assert held == check("ownrules.Good", {"bound": 0.5}) == check({"_target_": "ownrules.Good", "bound": 3})
    assert held == check(rules.Good, group="clipping")


@pytest.mark.parametrize(
    ("name", "law", "seen"),
    [
        ("Untold", "its docstring names every key of its own", "bound is not in it"),
        ("Default", "every hyper parameter is a keyword typed and without default", "other: .*has a default"),
        ("Idle", "every hyper parameter moves something", r"idle=1\.0 does what \[0\.5, 2\.0, .*\] do"),
        ("Mixing", "a replica is clipped as alone step after step", "replica 0 at step 0 in a population, and alone"),
        ("Ambient", "every hyper parameter moves something", "two observations differ"),
        ("Failing", "every hyper parameter moves something", "RuntimeError: out of order"),
    ],
)
def test_it_is_told_which_law_it_breaks(rules, name: str, law: str, seen: str) -> None:
    with pytest.raises(LawError, match=rf"clipping={name} breaks a law: {law}\. Seen: .*{seen}"):
        check(getattr(rules, name))


def test_what_no_checkpoint_keeps_is_found(rules) -> None:
    a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(Subject.of(rules.Good, {"bound": 0.5}, None))
    with pytest.raises(LawError, match="after a checkpoint, and without"):
        a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(Subject.of(rules.Counting, {"bound": 0.5}, None))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NoRule", "a component of no group"),
        ("Unmarked", "is no component: mark its class"),
        ("Untyped", "other: dict has no type of rnnlab.contract"),
    ],
)
def test_what_is_no_member_of_a_group_is_told_so(rules, name: str, told: str) -> None:
    with pytest.raises(LawError, match=told):
        check(getattr(rules, name))


def test_a_wrong_value_or_group_is_told() -> None:
    norm = "rnnlab.clipping.norm.NormClipping"
    with pytest.raises(LawError, match=r"clipping\.max_norm=-1: not allowed"):
        check(norm, {"max_norm": -1})
    with pytest.raises(LawError, match="no such group"):
        check(norm, group="clippings")
    with pytest.raises(LawError, match=r"schedule may be a component of rnnlab\.schedules"):
        check(norm, group="schedule")


def test_laws_need_no_pytest() -> None:
    code = "import sys, rnnlab.laws; assert not {'pytest', '_pytest'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
