"""Layer normalisation: what it makes invariant, and the papers' equations."""

import pytest
import torch
from support import component, drawn_cell, uniform
from torch import Tensor
from torch.nn import functional

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.layer_norm import layer_norm

CLOSE = {"rtol": 1e-9, "atol": 1e-11}
NORMALISED = {
    "rnn_layernorm": [("weight_input", "weight_recurrent")],
    "lstm_layernorm": [("weight_input",), ("weight_recurrent",)],
    "gru_layernorm": [("weight_input",), ("weight_recurrent",)],
}


def outputs(cell: Cell) -> Tensor:
    cell.epsilon = 1e-14
    # From a drawn state: at zero W h has no direction to keep.
    state = tuple(uniform(2, 3, 4, seed=20 + k) for k in range(len(cell.states)))
    return unroll(cell, uniform(5, 2, 3, 3, seed=1), state=state).output_KRBH


@pytest.mark.technique("cell=rnn_layernorm", "cell=lstm_layernorm", "cell=gru_layernorm")
@pytest.mark.parametrize(("option", "scaled"), [(o, scaled) for o, sets in NORMALISED.items() for scaled in sets])
def test_scaling_the_weights_changes_nothing(option: str, scaled: tuple[str, ...]) -> None:
    cell = drawn_cell(option, replicas=2)
    before = outputs(cell)
    with torch.no_grad():
        for name in scaled:
            getattr(cell, name).mul_(7.0)
    torch.testing.assert_close(outputs(cell), before, **CLOSE)
    with torch.no_grad():
        cell.bias.mul_(7.0)
    assert not torch.allclose(outputs(cell), before, rtol=1e-3), "the bias comes after it"


def test_layer_norm_has_mean_zero_and_the_gain_as_deviation() -> None:
    a, gain = uniform(2, 3, 50, seed=1, bound=9.0), uniform(2, 1, 1, seed=2).expand(2, 1, 50)
    result = layer_norm(a + 5, gain, 1e-12)
    torch.testing.assert_close(result.mean(-1), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(result.std(-1, correction=0), gain[..., 0].abs().expand(2, 3), **CLOSE)
    assert (layer_norm(a, gain, 1e6).abs() < 0.02).all(), "epsilon is added to the variance"


def normalised(a: Tensor) -> Tensor:
    return functional.layer_norm(a, a.shape[-1:], eps=1e-5)


@pytest.mark.technique("cell=lstm_layernorm")
def test_the_normalised_lstm_is_the_paper_s_equation() -> None:
    cell = drawn_cell("lstm_layernorm", replicas=2)
    x, h, c = uniform(2, 3, 3, seed=1), uniform(2, 3, 4, seed=2), uniform(2, 3, 4, seed=3)
    a = cell.gain_recurrent * normalised(h @ cell.weight_recurrent)
    a = a + cell.gain_input * normalised(x @ cell.weight_input) + cell.bias
    i, f, o, g = (cell.block(a, name) for name in ("input", "forget", "output", "candidate"))
    c_new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h_new = torch.sigmoid(o) * torch.tanh(cell.gain_cell * normalised(c_new) + cell.bias_cell)
    for mine, expected in zip(cell.step(x, (h, c))[1], (h_new, c_new), strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE)


@pytest.mark.technique("cell=gru_layernorm")
def test_the_normalised_gru_is_the_paper_s_equation() -> None:
    cell = drawn_cell("gru_layernorm", replicas=2)
    x, h, H = uniform(2, 3, 3, seed=1), uniform(2, 3, 4, seed=2), 4
    U, W, b, g_x, g_h = cell.weight_input, cell.weight_recurrent, cell.bias, cell.gain_input, cell.gain_recurrent
    gates = slice(0, 2 * H)
    a = (
        g_h[..., gates] * normalised(h @ W[..., gates])
        + g_x[..., gates] * normalised(x @ U[..., gates])
        + b[..., gates]
    )
    r, z = torch.sigmoid(a).chunk(2, dim=-1)
    inner = g_h[..., 2 * H :] * normalised(h @ W[..., 2 * H :]) + cell.bias_candidate_recurrent
    n = torch.tanh(g_x[..., 2 * H :] * normalised(x @ U[..., 2 * H :]) + b[..., 2 * H :] + r * inner)
    torch.testing.assert_close(cell.step(x, (h,))[0], z * h + (1 - z) * n, **CLOSE)


@pytest.mark.parametrize("option", NORMALISED)
def test_gains_start_at_one_and_inner_biases_at_zero(option: str) -> None:
    context = {"replicas": 2, "inputs": 3, "activation": lambda: component("activation", "tanh")}
    for name, parameter in component("cell", option, context, hidden=4).named_parameters():
        assert (parameter == (1.0 if name.startswith("gain") else 0.0)).all(), name
