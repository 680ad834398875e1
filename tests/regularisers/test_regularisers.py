"""Regularisers: their penalties against their equations, their gradients against finite differences."""

import pytest
import torch
from helpers import metrics, only_run, read, rnnlab
from moments import small_experiment
from support import component, drawn_cell, options, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Call, Passage
from rnnlab.bptt.reverse import reverse_sweep
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell
from rnnlab.contract import ConfigError
from rnnlab.regularisers.regulariser import Regulariser

T, R, B, H = 6, 2, 3, 4
ALL = [option for option in options("regulariser") if option != "none"]


def made(option: str, **changes: object) -> Regulariser:
    return component("regulariser", option, **changes)


Given = tuple[Tensor, Tensor | None]
"""Inputs and mask."""


def batch(masked: bool = False) -> Given:
    return uniform(T, R, B, 3, seed=1), right_aligned_mask(T, R, B) if masked else None


def called(cell: Cell, given: Given, output: Tensor, adjoint: Tensor | None = None) -> Call:
    return Call("cell", cell, *given, Unrolled(output, (), None, None if adjoint is None else (adjoint,)))


def seen(output_TRBH: Tensor, mask: Tensor | None = None) -> Call:
    inputs = torch.zeros(*output_TRBH.shape[:3], 1, dtype=output_TRBH.dtype)
    return called(drawn_cell("rnn"), (inputs, mask), output_TRBH)


def penalty(regulariser: Regulariser, cell: Cell, given: Given, adjoint: Tensor | None = None) -> Tensor:
    output = unroll(cell, given[0], mask_TRB=given[1]).output_KRBH
    return regulariser.penalty(called(cell, given, output, adjoint))


def gradients(regulariser: Regulariser, cell: Cell, given: Given) -> dict[str, Tensor]:
    """Of each replica's mean loss with its penalty."""
    cell.zero_grad()
    passage = Passage(autograd_engine("tests", vectors=True), scored=1, mask_TRB=given[1], whole=True)
    output = passage("cell", cell, given[0]).output_KRBH
    (output[-1].square().sum() + B * regulariser.before(passage).sum()).backward()
    regulariser.after(passage)
    return {name: p.grad / B for name, p in cell.named_parameters() if p.grad is not None}


@pytest.mark.technique("regulariser=l2")
def test_l2_is_the_square_of_the_recurrent_weights_alone() -> None:
    cell, given = drawn_cell("lstm", replicas=R), batch()
    found, without = gradients(made("l2", strength=0.3), cell, given), gradients(made("none"), cell, given)
    W = cell.weight_recurrent.detach()
    torch.testing.assert_close(penalty(made("l2", strength=0.3), cell, given), 0.3 * W.square().sum((1, 2)))
    for name, gradient in found.items():
        own = gradient - without[name]
        torch.testing.assert_close(own, 0.6 * W if name == "weight_recurrent" else torch.zeros_like(own))


@pytest.mark.technique("regulariser=orthogonality")
def test_orthogonality_grows_with_the_singular_values_distance_from_one() -> None:
    cell, given = drawn_cell("gru", replicas=R), batch()
    s = torch.linalg.svdvals(torch.stack([cell.block(cell.weight_recurrent, name) for name in cell.blocks]))
    expected = 0.2 * (s.square() - 1).square().sum((0, 2))
    torch.testing.assert_close(penalty(made("orthogonality", strength=0.2), cell, given), expected)
    with torch.no_grad():
        for name in cell.blocks:
            cell.block(cell.weight_recurrent, name).copy_(torch.linalg.qr(uniform(R, H, H, seed=2))[0])
    assert (penalty(made("orthogonality"), cell, given) < 1e-25).all()


@pytest.mark.technique("regulariser=activation", "regulariser=norm_stabiliser", "regulariser=temporal_activation")
def test_penalties_of_states_by_hand() -> None:
    h = torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64).view(3, 1, 1, 2)
    norms, squares, changes = (5**2 + 4**2 + 0) / 3, (25 + 1 + 1) / 6, (9 + 9 + 1 + 1) / 4
    for option, expected in (("norm_stabiliser", norms), ("activation", squares), ("temporal_activation", changes)):
        assert made(option, strength=0.5).penalty(seen(h)).item() == pytest.approx(0.5 * expected), option
    level = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64).view(3, 1, 1, 2)
    assert made("norm_stabiliser").penalty(seen(level)).item() == pytest.approx(1 / 3), "the first step, from 0"
    assert made("temporal_activation").penalty(seen(torch.ones(3, 1, 1, 2).double())) == 0


@pytest.mark.parametrize("option", ["norm_stabiliser", "activation", "temporal_activation"])
def test_a_masked_example_is_the_short_sequence_alone(option: str) -> None:
    h = uniform(T, 1, 1, H, seed=4)
    h[:2] = 0
    mask = torch.arange(T).view(-1, 1, 1) >= 2
    torch.testing.assert_close(made(option).penalty(seen(h, mask)), made(option).penalty(seen(h[2:])))


@pytest.mark.technique("regulariser=omega")
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "modrelu"])
def test_omega_is_its_equation_with_everything_but_w_held(activation: str) -> None:
    cell, given, regulariser = (
        drawn_cell("rnn", activation, replicas=R),
        batch(masked=True),
        made("omega", strength=0.7),
    )
    inputs, mask = given
    unrolled = unroll(cell, inputs, mask_TRB=mask, vectors=True)
    cotangent = torch.zeros(T, R, B, H, dtype=torch.float64)
    cotangent[-1] = 2 * unrolled.output_KRBH[-1].detach()
    d = reverse_sweep(cell, inputs, cotangent, mask_TRB=mask).adjoints[0]
    h = unrolled.output_KRBH.detach()
    W = cell.weight_recurrent.detach().clone().requires_grad_()
    expected = []
    for r in range(R):
        terms = []
        for t in range(1, T):
            a = cell.preactivation(inputs[t], h[t - 1]).detach().requires_grad_()
            (slope,) = torch.autograd.grad(cell.activation(a).sum(), a)
            for b in range(B):
                if mask is not None and mask[t - 1, r, b] and d[t, r, b].norm() > 0:
                    back = (d[t, r, b] * slope[r, b]) @ W[r].T
                    terms.append(((back @ back) / (d[t, r, b] @ d[t, r, b]) - 1) ** 2)
        expected.append(0.7 * torch.stack(terms).mean())
    found, without = gradients(regulariser, cell, given), gradients(made("none"), cell, given)
    torch.testing.assert_close(penalty(regulariser, cell, given, d), torch.stack(expected))
    torch.stack(expected).sum().backward()
    for name, gradient in found.items():
        own = gradient - without[name]
        torch.testing.assert_close(own, W.grad if name == "weight_recurrent" else torch.zeros_like(own))


def test_omega_is_zero_where_every_step_keeps_the_gradient_s_length() -> None:
    cell, given = drawn_cell("rnn", "identity", replicas=R), batch()
    for stretch in (1.0, 0.5):
        with torch.no_grad():
            cell.weight_recurrent.copy_(stretch * torch.linalg.qr(uniform(R, H, H, seed=2))[0])
        value = penalty(made("omega", strength=1.0), cell, given, uniform(T, R, B, H, seed=3))
        torch.testing.assert_close(value, torch.full_like(value, (stretch**2 - 1) ** 2))


@pytest.mark.parametrize("option", ALL)
def test_the_logged_loss_is_the_task_s_and_the_penalty_is_beside_it(option, in_tmp_path):
    setting = ["cell=rnn", "initialiser=xavier", "log.every=1", "steps=3"]
    for name in ("none", option):
        assert rnnlab(*setting, f"regulariser={name}", f"name={name}") == 0
    plain, with_penalty = metrics(only_run("none")), metrics(only_run(option))
    trained = [(a, b) for a, b in zip(plain, with_penalty, strict=True) if a["split"] == "train"]
    assert trained[0][0]["loss"] == pytest.approx(trained[0][1]["loss"], rel=1e-5)
    assert trained[2][0]["loss"] != trained[2][1]["loss"]
    assert all("penalty" not in a and b["penalty"] > 0 for a, b in trained)
    manifest = read(only_run(option), "manifest.json")
    assert option in manifest["run_id"]
    if option == "omega":
        assert manifest["engine"] == "autograd"
        assert "adjoints" in manifest["engine_because"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["regulariser=omega", "cell=lstm"], "regulariser=omega: not allowed. It is for the step"),
        (["regulariser=l2", "parametrisation=cayley"], "regulariser=l2: not allowed. With parametrisation=cayley"),
    ],
)
def test_what_would_do_nothing_or_has_nothing_to_look_at_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small_experiment(*overrides)
    assert message in str(caught.value)
