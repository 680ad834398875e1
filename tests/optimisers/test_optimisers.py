"""Optimisers against torch.optim's own, one replica in float64, and what is ours alone."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import component, drawn_cell, net_of, uniform
from torch import Tensor, optim

from rnnlab.clipping.none import NoClipping
from rnnlab.optimisers.muon import COEFFICIENTS, orthogonalised
from rnnlab.training.population import Population

BETAS = {"beta1": 0.8, "beta2": 0.97, "eps": 1e-4}
TORCH = {"betas": (0.8, 0.97), "eps": 1e-4}
SAME: dict[str, tuple[dict[str, Any], Callable[..., optim.Optimizer]]] = {
    "sgd": ({}, optim.SGD),
    "momentum": ({}, functools.partial(optim.SGD, momentum=0.9)),
    "momentum nesterov": ({"nesterov": True}, functools.partial(optim.SGD, momentum=0.9, nesterov=True)),
    "rmsprop": ({"momentum": 0.5}, functools.partial(optim.RMSprop, momentum=0.5)),
    "rmsprop centred": ({"centered": True, "alpha": 0.9}, functools.partial(optim.RMSprop, centered=True, alpha=0.9)),
    "adagrad": (
        {"lr_decay": 0.1, "initial": 0.2},
        functools.partial(optim.Adagrad, lr_decay=0.1, initial_accumulator_value=0.2),
    ),
    "adadelta": ({"rho": 0.8, "eps": 1e-3}, functools.partial(optim.Adadelta, rho=0.8, eps=1e-3)),
    "adam": (BETAS, functools.partial(optim.Adam, **TORCH)),
    "adam amsgrad": ({**BETAS, "amsgrad": True}, functools.partial(optim.Adam, **TORCH, amsgrad=True)),
    "adamw": (BETAS, functools.partial(optim.AdamW, **TORCH)),
    "nadam": (BETAS, functools.partial(optim.NAdam, **TORCH)),
    "radam": (BETAS, functools.partial(optim.RAdam, **TORCH)),
    "adamax": (BETAS, functools.partial(optim.Adamax, **TORCH)),
    "adafactor": (
        {"decay": 0.7, "clip": 1.05, "eps2": 0.3},
        functools.partial(optim.Adafactor, beta2_decay=-0.7, d=1.05, eps=(1e-30, 0.3)),
    ),
}


def population(option: str, **changes: object) -> Population:
    cell = drawn_cell("lstm", hidden=5)
    model = net_of(cell, outputs=2).double()
    with torch.no_grad():
        model.weight_output.copy_(uniform(1, 5, 2, seed=9))
    return Population(model, [0], component("optimiser", option, **changes), NoClipping())


def gradients(trained: Population, step: int) -> list[Tensor]:
    return [uniform(*p.shape, seed=100 * step + k, bound=2.0 ** -(step % 4)) for k, p in enumerate(trained.stacked)]


@pytest.mark.technique(
    "optimiser=sgd",
    "optimiser=momentum",
    "optimiser=rmsprop",
    "optimiser=adagrad",
    "optimiser=adadelta",
    "optimiser=adam",
    "optimiser=adamw",
    "optimiser=nadam",
    "optimiser=radam",
    "optimiser=adamax",
    "optimiser=adafactor",
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("name", SAME)
def test_it_is_torch_s(name: str, weight_decay: float) -> None:
    changes, reference = SAME[name]
    common = {"lr": 0.03, "weight_decay": weight_decay}
    trained = population(name.split()[0], **common, **changes)
    own = [p.detach()[0].clone().requires_grad_() for p in trained.stacked]
    theirs = reference(own, **common)
    for step in range(10):
        given = gradients(trained, step)
        for parameter, gradient in zip(own, given, strict=True):
            parameter.grad = gradient[0].clone()
        theirs.step()
        trained.step(given, torch.tensor([True]), 1.0)
    for ours, expected in zip(trained.stacked, own, strict=True):
        torch.testing.assert_close(ours.detach()[0], expected.detach(), rtol=1e-11, atol=1e-14)


@pytest.mark.technique("optimiser=muon")
def test_newton_schulz_maps_singular_values_and_turns_nothing() -> None:
    left, _ = torch.linalg.qr(uniform(3, 6, 6, seed=1))
    right, _ = torch.linalg.qr(uniform(3, 6, 6, seed=2))
    values = torch.tensor([1.0, 0.5, 0.2, 0.1, 0.05, 0.02], dtype=torch.float64).expand(3, 6)
    matrix = 7 * left @ torch.diag_embed(values) @ right.mT
    a, b, c = COEFFICIENTS
    mapped = values / values.norm(dim=1, keepdim=True)
    for _ in range(5):
        mapped = a * mapped + b * mapped**3 + c * mapped**5
    torch.testing.assert_close(orthogonalised(matrix, 5), left @ torch.diag_embed(mapped) @ right.mT)
    assert ((mapped > 0.6) & (mapped < 1.3)).all()
    assert (orthogonalised(torch.zeros(1, 4, 4), 5) == 0).all()


@pytest.mark.technique("optimiser=adafactor")
@pytest.mark.parametrize("lr", [0.4, 1e-3])
def test_adafactor_s_bound_on_the_relative_step_leaves_the_factors_of_lr_alone(lr: float) -> None:
    rule = component("optimiser", "adafactor", lr=lr)
    moved = []
    for factor in (1.0, 0.5):
        weight = torch.ones(3, 3, requires_grad=True)
        optimiser = rule([{"params": [weight], "lr": lr * factor}])
        for _ in range(8):
            weight.grad = torch.full((3, 3), 2.0)
            before = weight.detach().clone()
            optimiser.step()
        moved.append(((before - weight) / before).mean().item())
    assert moved[1] == pytest.approx(moved[0] / 2, rel=1e-3)
    assert moved[0] == pytest.approx(min(lr, 8**-0.5), rel=1e-3)


@pytest.mark.technique("optimiser=muon")
@pytest.mark.skipif(not hasattr(optim, "Muon"), reason="this torch has no Muon of its own")
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torch_s_on_each_gate_and_adamw_elsewhere(nesterov: bool) -> None:
    trained = population("muon", lr=0.05, nesterov=nesterov, weight_decay=0.1)
    start = dict(zip(trained.names, trained.backup(), strict=True))
    cell = trained.model.cell
    gates = [cell.block(start["cell.weight_recurrent"], b)[0].clone().requires_grad_() for b in cell.blocks]
    rest = [start[n][0].clone().requires_grad_() for n in start if n != "cell.weight_recurrent"]
    muon = optim.Muon(
        gates, lr=0.05, momentum=0.95, nesterov=nesterov, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    adamw = optim.AdamW(rest, lr=0.05, weight_decay=0.1)
    for step in range(5):
        given = dict(zip(trained.names, gradients(trained, step), strict=True))
        for gate, name in zip(gates, cell.blocks, strict=True):
            gate.grad = cell.block(given["cell.weight_recurrent"], name)[0].clone()
        for parameter, name in zip(rest, [n for n in start if n != "cell.weight_recurrent"], strict=True):
            parameter.grad = given[name][0].clone()
        muon.step()
        adamw.step()
        trained.step([*given.values()], torch.tensor([True]), 1.0)
    now = dict(zip(trained.names, trained.backup(), strict=True))
    moved = 0.05 * 0.2 * 5**0.5
    for gate, name in zip(gates, cell.blocks, strict=True):
        ours = cell.block(now["cell.weight_recurrent"], name)[0]
        assert (ours - gate.detach()).abs().max() < 0.1 * moved, "but for torch's bfloat16"
        assert (ours - cell.block(start["cell.weight_recurrent"], name)[0]).abs().max() > 0.5 * moved
    for parameter, name in zip(rest, [n for n in start if n != "cell.weight_recurrent"], strict=True):
        torch.testing.assert_close(now[name][0], parameter.detach(), rtol=1e-12, atol=0)
