"""A chain of clipping rules: each sees what the one before has left, and keeps what it remembers to itself."""

from pathlib import Path

import pytest
import torch
from helpers import metrics, only_run, rnnlab, weights
from support import composed, drawn_cell, leaf, net_of, uniform
from torch import Tensor

from rnnlab.build import build
from rnnlab.clipping.gradient_step import Clipping, GradientStep, gradient_norm
from rnnlab.contract import ConfigError
from rnnlab.make import make
from rnnlab.overrides import spelled_out
from rnnlab.schema import validate


def chain(*options: str, **changes: dict[str, float]) -> Clipping:
    rules = {name: leaf("clipping", name, **changes.get(name, {})) for name in options}
    return make("clipping", {**leaf("clipping", "chain"), "rules": rules})


def gradient_step(*, bound: float = 1.0, seed: int = 0) -> GradientStep:
    """Gradients from U(-bound, bound) of two replicas of a small LSTM and its readout."""
    model = net_of(drawn_cell("lstm", replicas=2), outputs=2).double()
    named = enumerate(model.named_parameters())
    gradients = {name: uniform(*p.shape, seed=100 * seed + k, bound=bound) for k, (name, p) in named}
    return GradientStep(model, gradients, gradient_norm([*gradients.values()]), torch.ones(2, dtype=torch.bool), {})


def copied(step: GradientStep, memory: dict[str, Tensor] | None = None) -> GradientStep:
    gradients = {name: g.clone() for name, g in step.gradients.items()}
    kept = {} if memory is None else memory
    return GradientStep(step.model, gradients, step.norm_R.clone(), step.usable_R.clone(), kept)


@pytest.mark.technique("clipping=chain")
def test_a_rule_sees_what_the_one_before_has_left_and_its_norm() -> None:
    given = gradient_step(bound=30.0)
    together, apart = copied(given), copied(given)
    clipped_R = chain("value", "norm", value={"max_value": 0.5}, norm={"max_norm": 1.0})(together)
    make("clipping", leaf("clipping", "value", max_value=0.5))(apart)
    between = gradient_norm([*apart.gradients.values()])
    assert (between > 1).all()
    make("clipping", leaf("clipping", "norm", max_norm=1.0))(
        GradientStep(apart.model, apart.gradients, between, apart.usable_R, {})
    )
    assert clipped_R.all()
    for name, gradient in together.gradients.items():
        assert torch.equal(gradient, apart.gradients[name])
    torch.testing.assert_close(gradient_norm([*together.gradients.values()]), torch.ones(2).double())


def test_one_rule_is_that_rule_step_after_step() -> None:
    whole, single = chain("autoclip"), make("clipping", leaf("clipping", "autoclip"))
    of_chain, of_rule = dict[str, Tensor](), dict[str, Tensor]()
    for number in range(5):
        given = gradient_step(bound=10.0 ** (number % 3), seed=number)
        ours, theirs = copied(given, of_chain), copied(given, of_rule)
        assert torch.equal(whole(ours), single(theirs))
        assert all(torch.equal(g, theirs.gradients[name]) for name, g in ours.gradients.items())
    assert of_chain.keys() == {f"autoclip.{key}" for key in of_rule}
    assert of_rule


def test_two_that_remember_do_not_share_it() -> None:
    memory = dict[str, Tensor]()
    rule = chain("autoclip", "zclip")
    for number in range(4):
        rule(copied(gradient_step(seed=number), memory))
    assert {key.split(".")[0] for key in memory} == {"autoclip", "zclip"}


def test_a_replica_is_what_it_is_alone_and_goes_on_where_it_stood(in_tmp_path: Path) -> None:
    setting = ["clipping=[zclip,autoclip,norm]", "clipping.rules.norm.max_norm=0.1", "cell=rnn"]
    assert rnnlab(*setting, "seeds=[4,7]", "steps=12", "name=both") == 0
    assert "zclip+autoclip+norm" in only_run("both").name
    assert rnnlab(*setting, "seeds=[7]", "steps=8", "name=alone") == 0
    assert rnnlab(*setting, "seeds=[7]", "steps=12", "name=alone") == 0  # goes on from the shorter one
    (longer,) = (p for p in Path("runs/alone").iterdir() if list((p / "checkpoint").glob("step-00000012*")))
    assert metrics(only_run("both"), 7) == metrics(longer)
    ours, theirs = weights(only_run("both"), 7), weights(longer, 7)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_list_on_the_command_line_is_a_chain() -> None:
    assert spelled_out(["clipping=[agc, norm]", "cell=rnn"]) == [
        "clipping=chain",
        "+clipping@clipping.rules.agc=agc",
        "+clipping@clipping.rules.norm=norm",
        "cell=rnn",
    ]
    with pytest.raises(ConfigError, match=r"^clipping=\[agc,agc\]: not allowed\."):
        spelled_out(["clipping=[agc,agc]"])


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["clipping=chain"], "clipping.rules={}"),
        (["clipping=[agc,norm]", "clipping.rules.norm.max_norm=-1"], "clipping.rules.norm.max_norm=-1"),
        (["clipping=[agc,norm]", "+clipping.rules.norm.max=1"], "clipping.rules.norm.max=1"),
        (["clipping=[norm,agc]", "parametrisation=cayley", "cell=rnn"], "clipping.rules.agc=agc"),
    ],
)
def test_what_is_wrong_within_is_named_by_its_own_key(settings: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(validate(composed("task.length=5", *spelled_out(settings))))
    assert str(error.value).startswith(f"{key}:")


def test_an_option_that_does_not_exist_is_told_as_it_was_written(in_tmp_path, capsys) -> None:
    assert rnnlab("clipping=[agc, nrm]") == 2
    assert capsys.readouterr().err.startswith("rnnlab: clipping=[agc,nrm]: no such option. Did you mean 'norm'?")
