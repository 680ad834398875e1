"""Optimisers and clipping rules in a population: replicas as alone, one ending or not, and through a checkpoint."""

import copy
import io

import pytest
import torch
from support import DTYPES, component, drawn_cell, options, uniform

from rnnlab.training import checkpoint
from rnnlab.training.loop import gradient_norm
from rnnlab.training.model import Model
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
    model = Model(drawn_cell("gru", replicas=len(seeds), hidden=5), replicas=len(seeds), outputs=2).to(dtype)
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
        fine_R = norm_R > 0
        trained.clip(gradients, norm_R, fine_R)
        trained.step(gradients, fine_R, 1.0)


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
