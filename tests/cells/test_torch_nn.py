"""Parity with torch.nn.RNN, LSTM and GRU: outputs and gradients, weights in both directions."""

import pytest
import torch
from support import DTYPES, drawn_cell, uniform
from torch import Tensor, nn

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.torch_nn import load_torch, to_torch

# torch.nn's order of gate rows, from its documentation.
TWINS = {
    "rnn": (nn.RNN, ("hidden",)),
    "lstm": (nn.LSTM, ("input", "forget", "candidate", "output")),
    "gru": (nn.GRU, ("reset", "update", "candidate")),
}
T, B, INPUTS, H = 7, 3, 2, 5
TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.float64: {"rtol": 1e-11, "atol": 1e-12},
}

pytestmark = pytest.mark.parametrize("option", TWINS)


def drawn_module(option: str, dtype: torch.dtype) -> nn.RNNBase:
    module = TWINS[option][0](INPUTS, H, dtype=dtype)
    with torch.no_grad():
        for k, parameter in enumerate(module.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=30 + k, bound=0.7))
    return module


def as_rows(cell: Cell, option: str, parameter: Tensor) -> Tensor:
    """One replica's (..., G) as torch.nn stacks it, (G, ...)."""
    return torch.cat([cell.block(parameter, name).mT for name in TWINS[option][1]])


def assert_same_function(option: str, cell: Cell, replica: int, module: nn.RNNBase, dtype: torch.dtype) -> None:
    """Equal outputs and gradients of input and every weight."""
    replicas, close = len(cell.weight_input), TOLERANCE[dtype]
    shared = uniform(T, B, INPUTS, seed=40, dtype=dtype)
    mine = shared.unsqueeze(1).repeat(1, replicas, 1, 1).requires_grad_()
    theirs = shared.clone().requires_grad_()
    cotangent = uniform(T, B, H, seed=41, dtype=dtype)

    output = unroll(cell, mine).output_KRBH[:, replica]
    expected, _ = module(theirs)
    torch.testing.assert_close(output, expected, **close)
    (output * cotangent).sum().backward()
    (expected * cotangent).sum().backward()

    twin = {name: parameter.grad for name, parameter in module.named_parameters()}
    torch.testing.assert_close(mine.grad[:, replica], theirs.grad, **close)
    for name, parameter in (("weight_ih_l0", cell.weight_input), ("weight_hh_l0", cell.weight_recurrent)):
        torch.testing.assert_close(as_rows(cell, option, parameter.grad[replica]), twin[name], **close)
    bias = as_rows(cell, option, cell.bias.grad[replica]).squeeze(-1)
    torch.testing.assert_close(bias, twin["bias_ih_l0"], **close)
    if option == "gru":
        inner = cell.bias_candidate_recurrent.grad[replica, 0]
        torch.testing.assert_close(inner, twin["bias_hh_l0"][2 * H :], **close)


@pytest.mark.technique("cell=rnn", "cell=lstm", "cell=gru")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loaded_cell_computes_what_the_module_does(option: str, dtype: torch.dtype) -> None:
    cell, module = (
        drawn_cell(option, replicas=3, inputs=INPUTS, hidden=H, dtype=dtype),
        drawn_module(option, dtype),
    )
    before = [p.detach().clone() for p in cell.parameters()]
    load_torch(cell, 1, module)
    assert_same_function(option, cell, 1, module, dtype)
    for old, new in zip(before, cell.parameters(), strict=True):
        assert torch.equal(old[[0, 2]], new[[0, 2]]), "other replicas stay as they are"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_module_made_from_a_replica_computes_what_the_cell_does(option: str, dtype: torch.dtype) -> None:
    cell = drawn_cell(option, replicas=2, inputs=INPUTS, hidden=H, dtype=dtype)
    module = to_torch(cell, 1)
    assert module.weight_ih_l0.dtype == dtype
    assert_same_function(option, cell, 1, module, dtype)


def test_there_and_back_is_the_same_cell(option: str) -> None:
    cell = drawn_cell(option, replicas=2, inputs=INPUTS, hidden=H)
    other = drawn_cell(option, replicas=2, inputs=INPUTS, hidden=H, seed=1)
    for replica in range(2):
        load_torch(other, replica, to_torch(cell, replica))
    for a, b in zip(cell.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_module_without_biases_gives_zero_biases(option: str) -> None:
    cell = drawn_cell(option, inputs=INPUTS, hidden=H)
    load_torch(cell, 0, TWINS[option][0](INPUTS, H, bias=False, dtype=torch.float64))
    for name, parameter in cell.named_parameters():
        assert name.startswith("bias") == bool((parameter == 0).all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_layers": 2}, "one layer"),
        ({"bidirectional": True}, "one direction"),
        ({"hidden_size": H + 1}, f"sizes differ: module {INPUTS}x{H + 1}, cell {INPUTS}x{H}"),
        ({"input_size": INPUTS + 1}, f"sizes differ: module {INPUTS + 1}x{H}"),
    ],
)
def test_modules_that_do_not_fit_are_refused(option: str, changes: dict, words: str) -> None:
    module = TWINS[option][0](**{"input_size": INPUTS, "hidden_size": H, **changes})
    with pytest.raises(ValueError, match=words):
        load_torch(drawn_cell(option, inputs=INPUTS, hidden=H), 0, module)


def test_another_kind_of_module_is_refused(option: str) -> None:
    other = nn.GRU if option == "rnn" else nn.RNN
    with pytest.raises(ValueError, match=f"torch.nn.{TWINS[option][0].__name__}"):
        load_torch(drawn_cell(option, inputs=INPUTS, hidden=H), 0, other(INPUTS, H))


def test_a_cell_that_torch_does_not_have_is_refused(option: str) -> None:
    class Other(Cell):
        blocks = ("hidden",)
        states = ("h",)

    cell = Other(replicas=1, inputs=INPUTS, hidden=H)
    with pytest.raises(ValueError, match="no twin of Other"):
        to_torch(cell, 0)
    with pytest.raises(ValueError, match="no twin of Other"):
        load_torch(cell, 0, drawn_module(option, torch.float64))
