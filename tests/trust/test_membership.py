"""A component of the user's own is refused, when it is made, for what it lacks for its group."""

import pytest
from support import GROUPS as FOLDERS
from support import choice, composed, key, leaf, options

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.groups import COMPONENTS
from rnnlab.make import make
from rnnlab.schema import validate

OWN = '''
import torch
from torch import nn
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.cells.cell import Cell
from rnnlab.contract import Count, Positive, component
from rnnlab.optimisers.optimiser import Optimiser


@component
class Module(nn.Module):
    def __init__(self, *, hidden: Count = 2) -> None:
        super().__init__()


@component
class Schedule:
    def factor(self, step: int, steps: int) -> float:
        return 1.0


@component
class Stateless(Cell):
    """It does not say what its blocks are."""

    def step(self, input_RBI, state): ...


@component
class Stepless(Cell):
    blocks, states = ("all",), ("h",)


@component
class NoRate:
    """An optimiser without the keys that others read."""

    def __call__(self, groups): ...


@component
class OnlyKeys(Optimiser):
    pass


@component
class TwoArguments:
    def __call__(self, gradients, seeds): ...


@component
class OneArgument(AdjointRule):
    def meet(self, adjoint): ...


@component
class Empty:
    pass


class Unmarked(Schedule):
    pass
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("group", "name", "lacks"),
    [
        ("cell", "Module", "is no rnnlab.cells.cell.Cell"),
        ("cell", "Schedule", "is no rnnlab.cells.cell.Cell"),
        ("cell", "Stateless", "has no blocks"),
        ("cell", "Stepless", "has no method step(input_RBI, state)"),
        ("activation", "Module", "has no method forward(preactivation_RBH)"),
        ("activation", "Schedule", "is no torch.nn.modules.module.Module"),
        ("clipping", "Schedule", "has no method __call__(step)"),
        ("clipping", "Module", "has no method __call__(step)"),
        ("clipping", "TwoArguments", "has no method __call__(step)"),
        ("gradient_noise", "TwoArguments", "has no method __call__(gradients, seeds, step)"),
        ("initialiser", "Module", "has no method __call__(weight_OI, generator)"),
        ("bias_initialiser", "Empty", "has no method __call__(weight_OI, generator)"),
        ("optimiser", "OnlyKeys", "has no method __call__(groups)"),
        ("optimiser", "NoRate", "is no rnnlab.optimisers.optimiser.Optimiser"),
        ("schedule", "NoRate", "has no method factor(step, steps)"),
        ("adjoint", "Schedule", "is no rnnlab.adjoints.rule.AdjointRule"),
        ("adjoint", "OneArgument", "has no method meet(adjoint_RBH, direct_RB1)"),
        ("task", "Schedule", "has no method training_batch(seed, step, device)"),
        ("regulariser", "Module", "is no rnnlab.regularisers.regulariser.Regulariser"),
        ("dropout", "Empty", "is no rnnlab.dropout.dropout.Dropout"),
        ("parametrisation", "Empty", "is no rnnlab.parametrisations.parametrisation.Parametrisation"),
        ("probes.mine", "Schedule", "has no method measure(moment)"),
    ],
)
def test_it_is_told_what_it_lacks(own, group, name, lacks) -> None:
    context = {"replicas": 1, "inputs": 1, "hidden": 2, "steps": 5} if name in ("Stateless", "Stepless") else {}
    with pytest.raises(ConfigError) as caught:
        make(group, {"_target_": f"lacking.{name}"}, ["lacking"], **context)
    assert str(caught.value) == f"{group}._target_=lacking.{name}: not allowed. As {group} it {lacks}."


@pytest.mark.parametrize("group", COMPONENTS)
@pytest.mark.parametrize("name", ["Empty", "Unmarked"])
def test_a_run_with_it_is_refused_whatever_the_group(own, group, name) -> None:
    raw = composed("engine=autograd", "task=copy") | {group: {"_target_": f"lacking.{name}"}}
    with pytest.raises(ConfigError, match=rf"^{group}\."):
        build(validate(raw, ["lacking"])).model([0])


def test_every_option_of_rnnlab_s_own_lacks_nothing() -> None:
    """Also those of the groups of the others: what is asked is asked of all."""
    for group in FOLDERS:
        for option in options(group):
            if "source" in leaf(group, option):
                continue  # its data may not be installed
            context = {
                "replicas": 1,
                "units": 4,
                "inputs": 2,
                "steps": 10,
                "outputs": 3,
                "grid": (1, 1),
                "activation": lambda: make_tanh(),
            }
            given = leaf(group, option, **({"hidden": 4} if group == "cell" else {}))
            assert make(key(group, option), given, **context) is not None, choice(group, option)


def make_tanh():
    return make("activation", leaf("activation", "tanh"))
