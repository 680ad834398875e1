"""The gates that a cell tells of are those that its step computes with."""

import pytest
import torch
from support import CELLS, drawn_cell, uniform
from torch import nn


class Constant(nn.Module):
    """An activation that gives the same everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, preactivation):
        return torch.full_like(preactivation, self.value)


def stepped(cell, seed=0):
    x = cell.told(uniform(1, 2, 4, 3, seed=seed), None, None)[0]
    state = tuple(uniform(2, 4, width, seed=seed + 10 + k) for k, width in enumerate(cell.widths))
    return cell.gates(x, state), state, cell.step(x, state)[1], x


@pytest.mark.parametrize("option", CELLS)
def test_a_cell_s_gates_are_between_zero_and_one_and_named_by_blocks(option):
    cell = drawn_cell(option, replicas=2, inputs=3, hidden=5)
    gates = stepped(cell)[0]
    assert cell.gated == bool(gates)
    assert set(gates) <= set(cell.bias_blocks)
    for gate in gates.values():
        assert gate.shape == (2, 4, 5)
        assert ((gate > 0) & (gate < 1)).all()


@pytest.mark.parametrize("option", CELLS)
def test_a_carried_component_s_old_value_is_multiplied_by_its_gate(option):
    cell = drawn_cell(option, replicas=2, inputs=3, hidden=5)
    for name in [name for name, _ in cell.named_children()]:
        setattr(cell, name, Constant(0.0))
    gates, old, new, _ = stepped(cell)
    carried = cell.kept(gates)
    assert set(carried) <= set(cell.states)
    for state, factor in carried.items():
        at = cell.states.index(state)
        assert factor.shape == (2, 4, 5)
        assert ((factor > 0) & (factor <= 1)).all()
        torch.testing.assert_close(new[at], factor * old[at], rtol=1e-12, atol=1e-16)


def test_the_lstm_s_input_and_output_gates():
    cell = drawn_cell("lstm", replicas=2, inputs=3, hidden=5)
    cell.candidate_activation, cell.output_activation = Constant(1.0), Constant(3.0)
    gates, (_, c), (h_new, c_new), _ = stepped(cell)
    torch.testing.assert_close(c_new, gates["forget"] * c + gates["input"], rtol=1e-12, atol=0)
    torch.testing.assert_close(h_new, 3 * gates["output"], rtol=1e-12, atol=0)


def test_the_gru_s_reset_gate():
    cell = drawn_cell("gru", "identity", replicas=2, inputs=3, hidden=5)
    gates, (h,), (h_new,), x = stepped(cell)
    U, W, b = (cell.block(p, "candidate") for p in (cell.weight_input, cell.weight_recurrent, cell.bias))
    n = x @ U + b + gates["reset"] * (h @ W + cell.bias_candidate_recurrent)
    z = gates["update"]
    torch.testing.assert_close(h_new, (1 - z) * n + z * h, rtol=1e-10, atol=1e-14)
