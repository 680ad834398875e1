"""Cells that are differential equations in small steps: leaky, antisymmetric, coRNN, LEM, and IndRNN's decay."""

import math

import pytest
import torch
from support import component, drawn_cell, uniform
from torch import Tensor

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell

CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def parts(cell: Cell, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """U, W and b of one block."""
    return tuple(cell.block(p, name) for p in (cell.weight_input, cell.weight_recurrent, cell.bias))  # type: ignore[return-value]


@pytest.mark.technique("cell=leaky")
def test_the_leaky_net_with_alpha_1_is_the_elman_net_to_the_bit() -> None:
    leaky, elman = drawn_cell("leaky", replicas=2), drawn_cell("rnn", replicas=2)
    leaky.alpha = 1.0
    x = uniform(5, 2, 3, 3, seed=1)
    assert torch.equal(unroll(leaky, x).output_KRBH, unroll(elman, x).output_KRBH)


@pytest.mark.technique("cell=leaky")
def test_a_leaky_unit_left_alone_forgets_by_1_minus_alpha_a_step() -> None:
    cell = drawn_cell("leaky", "identity", replicas=2)
    cell.alpha = 0.3
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    h = uniform(2, 3, 4, seed=1)
    unrolled = unroll(cell, torch.zeros(10, 2, 3, 3, dtype=torch.float64), state=(h,))
    torch.testing.assert_close(unrolled.output_KRBH[-1], 0.7**10 * h, **CLOSE)


@pytest.mark.technique("cell=antisymmetric")
@pytest.mark.parametrize("gated", [False, True])
def test_the_antisymmetric_net_is_the_paper_s_equation(gated: bool) -> None:
    cell = antisymmetric(gated=gated, gamma=0.3, epsilon=0.2)
    x, h = uniform(1, 3, 3, seed=1), uniform(1, 3, 4, seed=2)
    W = cell.weight_recurrent
    A = W - W.mT - 0.3 * torch.eye(4, dtype=torch.float64)
    a = {
        name: x @ cell.block(cell.weight_input, name) + h @ A + cell.block(cell.bias, name)
        for name in cell.input_blocks
    }
    z = torch.sigmoid(a["gate"]) if gated else 1.0
    torch.testing.assert_close(cell.step(x, (h,))[0], h + 0.2 * z * torch.tanh(a["hidden"]), **CLOSE)
    assert cell.gated == gated


def antisymmetric(activation: str = "tanh", **changes: object) -> Cell:
    context = {"replicas": 1, "inputs": 3, "activation": lambda: component("activation", activation)}
    cell = component("cell", "antisymmetric", context, hidden=4, **changes).double()
    with torch.no_grad():
        for k, parameter in enumerate(cell.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=k, bound=3.0))
    return cell


@pytest.mark.technique("cell=antisymmetric")
@pytest.mark.parametrize("gamma", [0.0, 0.4])
def test_an_antisymmetric_net_s_differential_equation_never_grows(gamma: float) -> None:
    """The Jacobian of (h_t - h_{t-1}) / epsilon has eigenvalues of real parts in [-gamma, 0]; those of A: -gamma."""
    for activation in ("tanh", "identity"):
        cell = antisymmetric(activation, gamma=gamma, epsilon=0.5)
        for seed in range(5):
            x, h = uniform(1, 1, 3, seed=seed), uniform(1, 1, 4, seed=seed + 50)
            jacobian = torch.autograd.functional.jacobian(
                lambda s, x=x, cell=cell: (cell.step(x, (s,))[0] - s) / 0.5, h
            )
            real = torch.linalg.eigvals(jacobian.view(4, 4)).real
            assert (real <= 1e-12).all()
            assert (real >= -gamma - 1e-12).all()
            if activation == "identity":
                torch.testing.assert_close(real, torch.full_like(real, -gamma), rtol=0, atol=1e-12)


@pytest.mark.technique("cell=cornn")
@pytest.mark.parametrize("implicit", [False, True])
def test_cornn_is_the_paper_s_equation(implicit: bool) -> None:
    cell = drawn_cell("cornn", replicas=2)
    cell.dt, cell.gamma, cell.epsilon, cell.implicit = 0.1, 2.0, 3.0, implicit
    x, y, z = uniform(2, 3, 3, seed=1), uniform(2, 3, 4, seed=2), uniform(2, 3, 4, seed=3)
    W, V = (cell.block(cell.weight_recurrent, name) for name in ("position", "velocity"))
    force = torch.tanh(x @ cell.weight_input + y @ W + z @ V + cell.bias)
    _, (y_new, z_new) = cell.step(x, (y, z))
    damped = z_new if implicit else z
    torch.testing.assert_close(z_new, z + 0.1 * (force - 2.0 * y - 3.0 * damped), **CLOSE)
    torch.testing.assert_close(y_new, y + 0.1 * z_new, **CLOSE)


@pytest.mark.technique("cell=cornn")
def test_an_undamped_oscillator_of_a_cornn_keeps_its_frequency_and_loses_nothing() -> None:
    """h'' = -gamma h: the state comes back after 2 pi / sqrt(gamma), as far as steps of dt can tell."""
    cell = drawn_cell("cornn")
    cell.dt, cell.gamma, cell.epsilon = 1e-3, 4.0, 0.0
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    h = uniform(1, 2, 4, seed=1)
    steps = round(2 * math.pi / 2 / 1e-3)
    unrolled = unroll(cell, torch.zeros(steps, 1, 2, 3, dtype=torch.float64), state=(h, torch.zeros_like(h)), last=1)
    torch.testing.assert_close(unrolled.output_KRBH[0], h, rtol=0, atol=5e-3)
    furthest = unroll(
        cell, torch.zeros(steps // 2, 1, 2, 3, dtype=torch.float64), state=(h, torch.zeros_like(h)), last=1
    )
    torch.testing.assert_close(furthest.output_KRBH[0], -h, rtol=0, atol=5e-3)


@pytest.mark.technique("cell=lem")
def test_lem_is_the_paper_s_equation() -> None:
    cell = drawn_cell("lem", replicas=2)
    cell.dt = 0.6
    u, y, z = uniform(2, 3, 3, seed=1), uniform(2, 3, 4, seed=2), uniform(2, 3, 4, seed=3)
    step = {}
    for name in ("step_z", "step_h"):
        V, W, b = parts(cell, name)
        step[name] = 0.6 * torch.sigmoid(y @ W + u @ V + b)
    V, W, b = parts(cell, "z")
    z_new = (1 - step["step_z"]) * z + step["step_z"] * torch.tanh(y @ W + u @ V + b)
    V, W, b = parts(cell, "h")
    y_new = (1 - step["step_h"]) * y + step["step_h"] * torch.tanh(z_new @ W + u @ V + b)
    for mine, expected in zip(cell.step(u, (y, z))[1], (y_new, z_new), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE)


@pytest.mark.technique("cell=lem")
def test_a_lem_with_tanh_stays_within_1() -> None:
    cell = drawn_cell("lem", bound=20.0)
    assert unroll(cell, uniform(50, 1, 4, 3, seed=1, bound=50.0)).output_KRBH.abs().max() <= 1


@pytest.mark.technique("cell=indrnn")
def test_a_unit_of_an_indrnn_remembers_by_its_own_weight_alone() -> None:
    """With the identity, an input's trace and its gradient decay as w^t, unit by unit."""
    cell, T = drawn_cell("indrnn", "identity", replicas=2), 9
    x = torch.zeros(T, 2, 1, 3, dtype=torch.float64)
    x[0] = uniform(2, 1, 3, seed=1)
    with torch.no_grad():
        cell.bias.zero_()
    unrolled = unroll(cell, x, record=True)
    power = cell.weight_recurrent ** torch.arange(T).view(-1, 1, 1, 1)
    torch.testing.assert_close(unrolled.output_KRBH, power * (x[0] @ cell.weight_input), **CLOSE)
    unrolled.output_KRBH[-1, ..., 2].sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    expected = cell.weight_recurrent[:, :, 2].detach().abs() ** torch.arange(T - 1, -1, -1).view(-1, 1, 1)
    torch.testing.assert_close(unrolled.adjoint_norm_STRB[0], expected, **CLOSE)


def test_an_indrnn_draws_its_weights_from_the_range_it_is_given() -> None:
    context = {"replicas": 1, "inputs": 1, "activation": lambda: component("activation", "relu")}
    cell = component("cell", "indrnn", context, hidden=2000, recurrent_low=-0.5, recurrent_high=1.5)
    with torch.no_grad():
        cell.initialise(0, torch.Generator().manual_seed(0))
    w = cell.weight_recurrent
    assert -0.5 <= w.min() < -0.49
    assert 1.49 < w.max() <= 1.5
    assert w.mean().item() == pytest.approx(0.5, abs=0.05)
