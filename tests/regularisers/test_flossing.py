"""Gradient flossing: its exponents against the probe's and theory, its penalty against finite differences."""

import math

import pytest
import torch
from helpers import only_run, rnnlab, weights
from moments import moment, small_experiment
from support import CELLS, component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.probes.lyapunov import _growth
from rnnlab.probes.trajectory import Trajectory
from rnnlab.regularisers.flossing import exponents, frame
from rnnlab.training.prepare import prepare

T, R, B = 7, 2, 3


def call(cell: Cell, masked: bool = True, replicas: int = R) -> Call:
    mask = right_aligned_mask(T, replicas, B) if masked else None
    inputs = cell.told(uniform(T, replicas, B, 3, seed=1), mask, None)
    return Call("cell", cell, inputs, mask, unroll(cell, inputs))


def penalty(cell: Cell, **changes: object) -> Tensor:
    return component("regulariser", "flossing", strength=0.5, **changes).penalty(call(cell))


def found(of: Call, directions: int = 3) -> Tensor:
    width = sum(part.shape[-1] for part in of.unrolled.state)
    return exponents(of.cell, of.input_TRBI, of.start(), of.live > 0, frame(directions, width).to(of.input_TRBI))


@pytest.mark.technique("regulariser=flossing")
@pytest.mark.parametrize("option", ["rnn", "lstm", "gru", "cornn"])
def test_its_exponents_are_those_of_the_lyapunov_probe_from_the_same_frame(option: str) -> None:
    taken = moment(f"cell={option}", "initialiser=xavier", "task.shortest=4", steps=2)
    (of,) = taken.calls
    trajectory = Trajectory(taken, of, 99)
    D = trajectory.before_TRBD.shape[-1]
    frame_RBDK = frame(3, D).T.expand(*trajectory.before_TRBD.shape[1:3], D, 3).contiguous()
    growth_TRBK = _growth(trajectory, frame_RBDK)
    expected = (growth_TRBK.sum(0) / trajectory.live_TRB.sum(0).unsqueeze(-1)).mean(1)
    torch.testing.assert_close(found(of), expected, rtol=1e-9, atol=1e-10)
    assert of.mask_TRB is not None


@pytest.mark.parametrize("option", [option for option in CELLS if drawn_cell(option).differentiable])
def test_the_penalty_of_every_cell_passes_finite_differences(option: str) -> None:
    cell = drawn_cell(option, "sigmoid" if option == "gru" else "tanh", replicas=R)
    names, parameters = zip(*cell.named_parameters(), strict=True)
    gradients = torch.autograd.grad(penalty(cell, exponents=2).sum(), parameters, allow_unused=True)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
        direction, values = uniform(*parameter.shape, seed=5), []
        for change in (1e-6, -2e-6, 1e-6):
            parameter.data += change * direction
            values.append(penalty(cell, exponents=2).detach().sum())
        along = 0.0 if gradient is None else (gradient * direction).sum().item()
        expected = (values[0] - values[1]).item() / 2e-6
        assert along == pytest.approx(expected, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("option", CELLS)
def test_of_every_cell_a_replica_s_penalty_and_gradient_are_those_that_it_has_alone(option: str) -> None:
    for dtype in (torch.float32, torch.float64):
        together = drawn_cell(option, replicas=3, dtype=dtype)
        mask = right_aligned_mask(T, 3, B)
        inputs = together.told(uniform(T, 3, B, 3, seed=1, dtype=dtype), mask, None)
        results = []
        for one in (slice(None), slice(1, 2)):
            cell = together if one == slice(None) else drawn_cell(option, dtype=dtype)
            with torch.no_grad():
                for mine, many in zip(cell.parameters(), list(together.parameters()), strict=True):
                    mine.copy_(many[one].clone())
            of = Call("cell", cell, inputs[:, one], mask[:, one], unroll(cell, inputs[:, one]))
            value = component("regulariser", "flossing").penalty(of)
            gradients = torch.autograd.grad(value.sum(), [*cell.parameters()], materialize_grads=True)
            results.append([value.detach(), *gradients])
        for many, alone in zip(*results, strict=True):
            assert torch.equal(many[1:2], alone)


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.4])
def test_a_linear_net_with_orthogonal_weights_is_pulled_towards_gain_one(gain: float) -> None:
    cell = drawn_cell("rnn", "identity", replicas=R)
    with torch.no_grad():
        cell.weight_recurrent.copy_(gain * torch.linalg.qr(uniform(R, 4, 4, seed=2))[0])
    torch.testing.assert_close(found(call(cell), 4), torch.full((R, 4), math.log(gain), dtype=torch.float64))
    value = penalty(cell, exponents=4)
    torch.testing.assert_close(value, torch.full_like(value, 0.5 * 4 * math.log(gain) ** 2))
    (gradient,) = torch.autograd.grad(value.sum(), cell.weight_recurrent)
    by_gain_R = (gradient * cell.weight_recurrent).sum((1, 2)) / gain
    expected = torch.full_like(by_gain_R, 0.5 * 4 * 2 * math.log(gain) / gain)
    torch.testing.assert_close(by_gain_R, expected)


def test_a_step_that_is_singular_does_not_count_and_leaves_the_gradient_finite() -> None:
    cell = drawn_cell("rnn", "relu", replicas=R)
    with torch.no_grad():
        cell.bias[0, 0, 0] = -50.0  # one unit is dead
    value = penalty(cell, exponents=4)
    gradients = torch.autograd.grad(value.sum(), [*cell.parameters()])
    assert value[0] == 0
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("setting", [["cell=rnn", "initialiser=xavier", "initialiser.gain=0.5"], ["cell=lstm"]])
def test_updates_before_training_bring_the_exponents_towards_zero(setting: list[str]) -> None:
    flossing = ("regulariser=flossing", "regulariser.updates=40", "optimiser.lr=0.01")
    experiment = small_experiment(*setting, *flossing)
    batch = experiment.task.training_batch(3, 1)
    sizes = []
    for model in (experiment.model([3]), prepare(experiment, experiment.model([3]), [3])):
        mask = None if batch.mask is None else batch.mask.unsqueeze(1)
        inputs = batch.input.unsqueeze(1).double()
        of = Call("cell", model.cell, inputs, mask, unroll(model.cell, inputs))
        sizes.append(found(of, 4).abs().mean().item())
    assert sizes[1] < 0.5 * sizes[0]


def test_it_begins_as_alone_and_a_resumed_run_does_not_begin_again(in_tmp_path, monkeypatch) -> None:
    from rnnlab.training import session

    setting = ["regulariser=flossing", "regulariser.updates=3", "cell=rnn", "checkpoint.every=2", "threads=1"]
    assert rnnlab(*setting, "seeds=[4,1]", "name=whole") == 0
    assert rnnlab(*setting, "seeds=[1]", "name=alone") == 0
    train, prepared = session.train, []
    monkeypatch.setattr(session, "prepare", lambda *given: (prepared.append(1), prepare(*given)))
    stopped = lambda *a, **k: train(*a, **{**k, "interrupted": lambda: a[2].step >= 7})  # noqa: E731
    monkeypatch.setattr(session, "train", stopped)
    assert rnnlab(*setting, "seeds=[4,1]", "name=cut") == 130
    monkeypatch.setattr(session, "train", train)
    assert rnnlab(*setting, "seeds=[4,1]", "name=cut") == 0
    assert prepared == [1]
    ours, theirs = weights(only_run("whole"), 1), weights(only_run("alone"), 1)
    again = weights(only_run("cut"), 1)
    assert all(torch.equal(ours[name], theirs[name]) and torch.equal(ours[name], again[name]) for name in ours)
