"""Cells whose next state is linear in the last one: minGRU, minLSTM, LRU."""

import math

import pytest
import torch
from support import component, drawn_cell, uniform
from torch import Tensor

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.contract import ConfigError

CLOSE = {"rtol": 1e-11, "atol": 1e-13}
LINEAR = ["lru", "mingru", "minlstm"]


def preactivations(cell: Cell, x: Tensor) -> dict[str, Tensor]:
    return {name: x @ cell.block(cell.weight_input, name) + cell.block(cell.bias, name) for name in cell.input_blocks}


@pytest.mark.technique("cell=mingru")
def test_mingru_is_the_paper_s_equation() -> None:
    cell = drawn_cell("mingru", "identity", replicas=2)
    x, h = uniform(2, 3, 3, seed=1), uniform(2, 3, 4, seed=2)
    a = preactivations(cell, x)
    z = torch.sigmoid(a["update"])
    torch.testing.assert_close(cell.step(x, (h,))[0], (1 - z) * h + z * a["candidate"], **CLOSE)


@pytest.mark.technique("cell=minlstm")
def test_minlstm_is_the_paper_s_equation() -> None:
    cell = drawn_cell("minlstm", "identity", replicas=2)
    x, h = uniform(2, 3, 3, seed=1), uniform(2, 3, 4, seed=2)
    a = preactivations(cell, x)
    f, i = torch.sigmoid(a["forget"]), torch.sigmoid(a["input"])
    torch.testing.assert_close(cell.step(x, (h,))[0], (f * h + i * a["candidate"]) / (f + i), **CLOSE)


@pytest.mark.technique("cell=minlstm")
@pytest.mark.parametrize("far", [-300.0, 300.0])
def test_minlstm_s_gates_share_out_also_where_both_underflow(far: float) -> None:
    cell = drawn_cell("minlstm", dtype=torch.float32)
    with torch.no_grad():
        cell.weight_input.zero_()
        cell.block(cell.bias, "forget").fill_(far)
        cell.block(cell.bias, "input").fill_(far - 1.0)
    (f,), (b,) = cell.coefficients(torch.zeros(1, 2, 3))
    expected = torch.sigmoid(torch.tensor(1.0)) if far < 0 else torch.tensor(0.5)
    torch.testing.assert_close(f, expected.expand_as(f))
    assert torch.isfinite(b).all()


@pytest.mark.parametrize("option", LINEAR)
def test_the_state_is_linear_in_the_initial_state(option: str) -> None:
    cell = drawn_cell(option, replicas=2)
    x, shape = uniform(5, 2, 3, 3, seed=1), (2, 3, 4)
    first, second = (tuple(uniform(*shape, seed=s + k, bound=5.0) for k in range(len(cell.states))) for s in (10, 20))
    mixed = tuple(0.3 * a + 0.7 * b for a, b in zip(first, second, strict=True))
    ends = [unroll(cell, x, state=state).state for state in (first, second, mixed)]
    recurrent = range(len(cell.states)) if len(cell.states) == 1 else range(1, len(cell.states))
    for k in recurrent:
        torch.testing.assert_close(ends[2][k], 0.3 * ends[0][k] + 0.7 * ends[1][k], **CLOSE)


@pytest.mark.technique("cell=lru")
def test_lru_s_state_and_output_are_the_paper_s_in_complex_numbers() -> None:
    cell, T = drawn_cell("lru", "identity", replicas=2), 6
    x = uniform(T, 2, 3, 3, seed=1)
    nu, theta = cell.weight_recurrent.split(1, dim=1)
    eigenvalue = torch.exp(torch.complex(-torch.exp(nu), torch.exp(theta)))
    B, b = (torch.complex(cell.block(p, "real"), cell.block(p, "imaginary")) for p in (cell.weight_input, cell.bias))
    C = torch.complex(*cell.weight_mixing.chunk(2, dim=1))
    s, outputs = torch.zeros(2, 3, 4, dtype=torch.complex128), []
    for x_t in x:
        s = eigenvalue * s + torch.exp(cell.log_gamma) * (x_t.to(s) @ B + b)
        direct = x_t @ cell.block(cell.weight_input, "direct") + cell.block(cell.bias, "direct")
        outputs.append((s @ C).real + direct)
    unrolled = unroll(cell, x)
    torch.testing.assert_close(unrolled.output_KRBH, torch.stack(outputs), **CLOSE)
    torch.testing.assert_close(torch.complex(unrolled.state[1], unrolled.state[2]), s, **CLOSE)


@pytest.mark.technique("cell=lru")
def test_lru_s_answer_to_an_impulse_is_the_powers_of_lambda() -> None:
    cell, T = drawn_cell("lru", "identity"), 12
    x = torch.zeros(T, 1, 1, 3, dtype=torch.float64)
    x[0] = uniform(1, 1, 3, seed=1)
    with torch.no_grad():
        cell.bias.zero_()
    eigenvalue = torch.complex(*cell.eigenvalues()).detach()
    states = [unroll(cell, x[: t + 1]).state for t in range(T)]
    found = torch.stack([torch.complex(re, im) for _, re, im in states])
    expected = found[0] * eigenvalue ** torch.arange(T).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, expected, **CLOSE)


def ring(**changes: float) -> Cell:
    context = {"replicas": 1, "inputs": 3, "activation": lambda: component("activation", "identity")}
    cell = component("cell", "lru", context, hidden=4000, **changes)
    with torch.no_grad():
        cell.initialise(0, torch.Generator().manual_seed(0))
    return cell


@pytest.mark.technique("cell=lru")
def test_lru_starts_evenly_on_its_ring_with_the_gain_that_keeps_variance() -> None:
    cell = ring(r_min=0.5, r_max=0.9, max_phase=math.pi / 2)
    eigenvalue = torch.complex(*cell.eigenvalues()).detach().flatten()
    modulus, phase = eigenvalue.abs(), eigenvalue.angle()
    assert 0.5 - 1e-6 <= modulus.min() < 0.51
    assert 0.89 < modulus.max() <= 0.9 + 1e-6
    # Evenly over the area: |lambda|^2 is uniform.
    assert modulus.square().mean().item() == pytest.approx((0.25 + 0.81) / 2, abs=0.01)
    assert 0 <= phase.min() < 0.01 < math.pi / 2 - 0.01 < phase.max() <= math.pi / 2 + 1e-6
    torch.testing.assert_close(cell.log_gamma.exp().flatten().square(), 1 - modulus.square(), rtol=1e-4, atol=1e-6)
    assert cell.weight_mixing.std().item() == pytest.approx(4000**-0.5, rel=0.01)


def test_the_whole_disc_is_finite_and_inside_and_stays_so() -> None:
    cell = ring(r_min=0.0, r_max=1.0)
    assert all(p.isfinite().all() for p in cell.parameters())
    with torch.no_grad():
        cell.weight_recurrent.mul_(3.0)
    assert (torch.complex(*cell.eigenvalues()).abs() <= 1).all()


@pytest.mark.parametrize(
    ("option", "changes", "words"),
    [
        ("lru", {"r_min": 0.9, "r_max": 0.9}, "r_min=0.9 must be below r_max=0.9"),
        ("indrnn", {"recurrent_low": 1.0}, "recurrent_low=1.0 must be below recurrent_high=1.0"),
    ],
)
def test_an_empty_range_is_refused(option: str, changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        component("cell", option, {"replicas": 1, "inputs": 1, "activation": torch.nn.Identity}, **changes)
