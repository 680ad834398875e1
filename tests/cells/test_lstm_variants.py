"""LSTMs with fewer gates: each is the LSTM, or another cell, with something held fast."""

import pytest
import torch
from support import drawn_cell, uniform
from torch import Tensor

from rnnlab.cells.cell import Cell

CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def copy_blocks(source: Cell, target: Cell) -> None:
    """Into every block of the target that the source has."""
    with torch.no_grad():
        for name in set(source.blocks) & set(target.blocks):
            for parameter in ("weight_input", "weight_recurrent", "bias"):
                target.block(getattr(target, parameter), name).copy_(source.block(getattr(source, parameter), name))


def hold(cell: Cell, name: str, bias: float) -> None:
    """A gate that does not depend on what it sees."""
    with torch.no_grad():
        for parameter, value in ((cell.weight_input, 0.0), (cell.weight_recurrent, 0.0), (cell.bias, bias)):
            cell.block(parameter, name).fill_(value)


def states(cell: Cell, count: int = 2) -> tuple[Tensor, tuple[Tensor, ...]]:
    return uniform(2, 3, 3, seed=1), tuple(uniform(2, 3, 4, seed=2 + k) for k in range(count))


@pytest.mark.technique("cell=lstm1997")
def test_the_first_lstm_is_the_lstm_with_its_forget_gate_open() -> None:
    first, lstm = drawn_cell("lstm1997", replicas=2), drawn_cell("lstm", replicas=2, seed=1)
    copy_blocks(first, lstm)
    hold(lstm, "forget", 1000.0)
    x, state = states(first)
    for a, b in zip(first.step(x, state)[1], lstm.step(x, state)[1], strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.technique("cell=lstm1997")
def test_the_first_lstm_s_input_gate_begins_nearly_shut() -> None:
    cell = drawn_cell("lstm1997", replicas=2)
    drawn = cell.bias.detach().clone()
    with torch.no_grad():
        cell.shift_biases(1)
    added = {name: cell.block((cell.bias - drawn).detach(), name)[:, 0].tolist() for name in cell.blocks}
    assert added == {"input": [[0.0] * 4, [-3.0] * 4], "output": [[0.0] * 4] * 2, "candidate": [[0.0] * 4] * 2}


@pytest.mark.technique("cell=lstm_coupled")
def test_the_coupled_lstm_is_the_lstm_with_the_forget_gate_s_complement_as_input_gate() -> None:
    """sigmoid(-a) = 1 - sigmoid(a)."""
    coupled, lstm = drawn_cell("lstm_coupled", replicas=2), drawn_cell("lstm", replicas=2, seed=1)
    copy_blocks(coupled, lstm)
    with torch.no_grad():
        for parameter in (lstm.weight_input, lstm.weight_recurrent, lstm.bias):
            lstm.block(parameter, "input").copy_(-lstm.block(parameter, "forget"))
    x, state = states(coupled)
    for a, b in zip(coupled.step(x, state)[1], lstm.step(x, state)[1], strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def janet_by_the_paper(cell: Cell, x: Tensor, h: Tensor) -> Tensor:
    (U_f, U_c), (W_f, W_c), (b_f, b_c) = (
        (cell.block(p, "forget"), cell.block(p, "candidate"))
        for p in (cell.weight_input, cell.weight_recurrent, cell.bias)
    )
    s = x @ U_f + h @ W_f + b_f
    return torch.sigmoid(s) * h + (1 - torch.sigmoid(s - cell.beta)) * torch.tanh(x @ U_c + h @ W_c + b_c)


@pytest.mark.technique("cell=janet")
@pytest.mark.parametrize("beta", [0.0, 1.0, -0.7])
def test_janet_is_the_paper_s_equation(beta: float) -> None:
    cell = drawn_cell("janet", replicas=2)
    cell.beta = beta
    x, (h,) = states(cell, 1)
    torch.testing.assert_close(cell.step(x, (h,))[0], janet_by_the_paper(cell, x, h), **CLOSE)
    if beta == 0:
        largest = torch.maximum(h.abs(), torch.ones_like(h))
        assert (cell.step(x, (h,))[0].abs() <= largest).all(), "it writes what it forgets: a mean of h and tanh"


@pytest.mark.technique("cell=mgu")
def test_the_minimal_gated_unit_is_the_paper_s_equation() -> None:
    cell = drawn_cell("mgu", replicas=2)
    x, (h,) = states(cell, 1)
    (U_f, W_f, b_f), (U_h, W_h, b_h) = (
        [cell.block(p, name) for p in (cell.weight_input, cell.weight_recurrent, cell.bias)]
        for name in ("forget", "candidate")
    )
    f = torch.sigmoid(x @ U_f + h @ W_f + b_f)
    expected = (1 - f) * h + f * torch.tanh(x @ U_h + (f * h) @ W_h + b_h)
    torch.testing.assert_close(cell.step(x, (h,))[0], expected, **CLOSE)


@pytest.mark.parametrize("option", ["lstm_coupled", "lstm_layernorm", "janet", "minlstm"])
def test_the_forget_bias_is_added_to_the_forget_gate_s_bias_alone(option: str) -> None:
    cell = drawn_cell(option)
    before, cell.bias_shifts = cell.bias.detach().clone(), {"forget": 1.5}
    with torch.no_grad():
        cell.shift_biases(0)
    for name in cell.input_blocks:
        expected = cell.block(before, name) + (1.5 if name == "forget" else 0.0)
        assert torch.equal(cell.block(cell.bias, name), expected)
