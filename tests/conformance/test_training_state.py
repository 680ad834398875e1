"""Optimisers and clipping rules in a population: replicas as alone, one ending or not, and through a checkpoint."""

import copy
import io

import pytest
import torch
from support import DTYPES, component, drawn_cell, net_of, options, uniform

from rnnlab.clipping.gradient_step import gradient_norm
from rnnlab.training import checkpoint
from rnnlab.training.population import Population

SEEDS = [4, 1, 7]
CHOICES = [
    *(("optimiser", option) for option in options("optimiser")),
    *(("clipping", option) for option in options("clipping")),
]
SOONER = {"zclip": {"warmup": 3, "z_max": 0.5}, "norm": {"max_norm": 0.5}, "value": {"max_value": 0.2}}


def population(group: str, option: str, seeds: list[int], dtype: torch.dtype) -> Population:
    """A GRU and a readout; every parameter is a function of its replica's seed."""
    parts = {"optimiser": component("optimiser", "sgd"), "clipping": component("clipping", "none")}
    parts[group] = component(group, option, **SOONER.get(option, {}))
    model = net_of(drawn_cell("gru", replicas=len(seeds), hidden=5), outputs=2).to(dtype)
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            for r, seed in enumerate(seeds):
                parameter[r].copy_(uniform(*parameter.shape[1:], seed=100 * seed + k))
    return Population(model, seeds, parts["optimiser"], parts["clipping"])


def train(trained: Population, *steps: int) -> None:
    """Gradients are a function of seed and step; their size changes from step to step."""
    for step in steps:
        gradients = [
            torch.stack(
                [
                    uniform(*p.shape[1:], seed=1000 * step + 50 * seed + k, bound=0.1 + step * seed % 5).to(p.dtype)
                    for seed in trained.active
                ]
            )
            for k, p in enumerate(trained.stacked)
        ]
        norm_R = gradient_norm(gradients)
        usable_R = norm_R > 0
        trained.clip(gradients, norm_R, usable_R)
        trained.step(gradients, usable_R, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_a_replica_trains_as_alone_also_after_another_has_ended(group: str, option: str, dtype: torch.dtype) -> None:
    together = population(group, option, SEEDS, dtype)
    train(together, 1, 2, 3, 4)
    together.keep([4, 7])
    train(together, 5, 6, 7)
    for seed in (4, 7):
        alone = population(group, option, [seed], dtype)
        start = copy.deepcopy(alone.weights(seed))
        train(alone, *range(1, 8))
        for name, weight in alone.weights(seed).items():
            assert torch.equal(weight, together.weights(seed)[name]), name
            assert not torch.equal(weight, start[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_a_checkpoint_changes_nothing(group: str, option: str, dtype: torch.dtype) -> None:
    whole = population(group, option, SEEDS, dtype)
    train(whole, 1, 2, 3)
    whole.keep([4, 7])
    train(whole, 4)
    saved = io.BytesIO()
    torch.save(checkpoint._canonical(whole.state_dict()), saved)
    resumed = population(group, option, SEEDS, dtype)
    saved.seek(0)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    for trained in (whole, resumed):
        train(trained, 5, 6, 7)
    for seed in SEEDS:
        for name, weight in whole.weights(seed).items():
            assert torch.equal(weight, resumed.weights(seed)[name]), name
    states = []
    for trained in (whole, resumed):
        written = io.BytesIO()
        torch.save(checkpoint._canonical(trained.state_dict()), written)
        states.append(written.getvalue())
    assert states[0] == states[1], "equal states are equal bytes"


def places(value, path=()):
    """The path of every tensor, number and text in nested containers."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        return [path]
    return [place for key, part in parts for place in places(part, (*path, key))]


def changed(value, path, new):
    """A copy in which `new` has been applied to what is there; None takes it away."""
    if not path:
        return new(value)
    result, key = copy.copy(value), path[0]
    if len(path) == 1 and new is None:
        del result[key]
    else:
        result[key] = changed(value[key], path[1:], new)
    return result


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_a_state_of_another_form_is_refused_before_a_kernel_is_given_it(group: str, option: str) -> None:
    trained = population(group, option, SEEDS, torch.float32)
    train(trained, 1, 2)
    saved = checkpoint._canonical(trained.state_dict())
    resumed = population(group, option, SEEDS, torch.float32)
    resumed.load_state_dict(saved)
    forms = (None, lambda x: "x", lambda x: x.flatten()[:0], lambda x: x.to(torch.int16), lambda x: x.to_sparse())
    tensors = [p for part in ("optimiser", "clipping", "weights") for p in places(saved[part], (part,))]
    for path in [p for p in tensors if "param_groups" not in p]:
        alone = len(saved[path[0]]) == 1  # a rule that remembers nothing is like one before its first step
        for form in forms[alone:]:
            with pytest.raises((ValueError, LookupError, AttributeError)):
                resumed.load_state_dict(changed(saved, path, form))
    options_of_group = ("optimiser", "param_groups", 1)
    for key in saved["optimiser"]["param_groups"][1].keys() - {"lr"}:
        with pytest.raises(ValueError, match="the optimiser has another"):
            resumed.load_state_dict(changed(saved, (*options_of_group, key), lambda x: "x"))
    resumed.load_state_dict(saved)
