"""Cells in which the input multiplies the state: second order, its factored form, and the cascaded net."""

import pytest
import torch
from support import component, composed, drawn_cell, net_of, uniform
from torch import Tensor
from torch.autograd.functional import jacobian

from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.bptt.unroll import unroll
from rnnlab.build import build
from rnnlab.cells.cascaded import CascadedRNN
from rnnlab.cells.cell import Cell
from rnnlab.schema import validate
from rnnlab.tasks.task import stack
from rnnlab.tasks.tomita import AUTOMATA, Grammar

CLOSE = {"rtol": 1e-11, "atol": 1e-13}
each_grammar = pytest.mark.parametrize("grammar", AUTOMATA)


def transitions(grammar: Grammar) -> Tensor:
    """(2, states, states): of each symbol, row j has its 1 where state j goes."""
    following = torch.tensor(AUTOMATA[grammar][0])
    return torch.nn.functional.one_hot(following.T, len(following)).double()


def automaton(grammar: Grammar) -> Cell:
    """With a one-hot state and the automaton's matrices."""
    matrices = transitions(grammar)
    cell = drawn_cell("second_order", "identity", inputs=2, hidden=matrices.shape[-1], bound=0.0)
    with torch.no_grad():
        for k, matrix in enumerate(matrices):
            cell.block(cell.weight_recurrent[0], f"input{k}").copy_(matrix)
    return cell


def one_hot(symbols: Tensor, width: int = 2) -> Tensor:
    """(T, 1, B, width)."""
    return torch.nn.functional.one_hot(symbols, width).double().unsqueeze(1)


def backwards(cell: Cell, input_TRBI: Tensor) -> dict[str, Tensor]:
    """Outputs, adjoint norms and gradients, of a fixed cotangent."""
    inputs = input_TRBI.clone().requires_grad_()
    unrolled = unroll(cell, inputs, record=True)
    (unrolled.output_KRBH * uniform(*unrolled.output_KRBH.shape, seed=9)).sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    assert inputs.grad is not None
    gradients = {name: p.grad for name, p in cell.named_parameters() if p.grad is not None}
    return gradients | {"output": unrolled.output_KRBH, "adjoint": unrolled.adjoint_norm_STRB, "input": inputs.grad}


@pytest.mark.technique("cell=second_order")
@each_grammar
def test_with_an_automaton_s_matrices_it_is_the_automaton_at_any_length(grammar: Grammar) -> None:
    following, cell = torch.tensor(AUTOMATA[grammar][0]), automaton(grammar)
    symbols = (uniform(700, 8, seed=1) > 0).long()
    symbols[:, 0], symbols[:, 1], symbols[::2, 2], symbols[1::2, 2] = 0, 1, 1, 0  # some that get far before a sink
    start = torch.zeros(1, 8, cell.hidden, dtype=torch.float64)
    start[..., 0] = 1
    outputs, state = unroll(cell, one_hot(symbols), state=(start,)).output_KRBH, torch.zeros(8, dtype=torch.long)
    for t, symbol in enumerate(symbols):
        state = following[state, symbol]
        assert torch.equal(outputs[t, 0], torch.nn.functional.one_hot(state, cell.hidden).double())


@pytest.mark.technique("cell=second_order")
@each_grammar
def test_such_a_net_starts_at_zero_and_answers_the_task_s_questions(grammar: Grammar) -> None:
    """The state is the automaton's less the first one, [h; 1] is linear in it, and the end symbol keeps it."""
    matrices = transitions(grammar)
    first = torch.eye(matrices.shape[-1], dtype=torch.float64)[0]
    cell = drawn_cell("second_order", "identity", inputs=3, hidden=len(first), bound=0.0)
    net = net_of(cell, outputs=2).double()
    accepts = torch.tensor([float(state in AUTOMATA[grammar][1]) for state in range(len(first))])
    with torch.no_grad():
        for k, matrix in enumerate((*matrices, torch.eye(len(first)))):
            cell.block(cell.weight_recurrent[0], f"input{k}").copy_(matrix)
            cell.weight_input[0, k] = first @ matrix.double() - first
        net.weight_output[0, :, 1], net.bias_output[0, 0, 1] = accepts, accepts[0] - 0.5
    task = component("task", "tomita", grammar=grammar, length=300, batch=60)
    batch = stack([task.training_batch(0, 1)]).to(torch.device("cpu"), torch.float64)
    predictions = net(batch, Passage(autograd_engine("tests"), scored=1, mask_TRB=batch.mask))
    assert (task.metrics(predictions, batch) == 1).all()
    assert torch.equal(predictions[0, 0, :, 1], batch.target[0, 0] - 0.5), "to the bit"


def states_jacobian(cell: Cell, symbols: Tensor) -> Tensor:
    """d(last state) / d(first state), (H, H), row of a state vector to the left: h_T = h_0 J."""
    inputs = one_hot(symbols.view(-1, 1))
    start = uniform(1, 1, cell.hidden, seed=3)
    return jacobian(lambda h: unroll(cell, inputs, state=(h,)).state[0], start).view(cell.hidden, cell.hidden).T


@pytest.mark.technique("cell=second_order")
@pytest.mark.parametrize("grammar", [5, 6])
def test_an_automaton_of_permutations_keeps_the_length_of_a_gradient(grammar: Grammar) -> None:
    J = states_jacobian(automaton(grammar), (uniform(400, seed=4) > 0).long())
    assert torch.equal(J @ J.T, torch.eye(len(J), dtype=torch.float64))


SYNCHRONISING: dict[Grammar, str] = {1: "0", 2: "00", 3: "10101", "3_next": "10101", 4: "000", 7: "1010"}
"""After these every state is the one without a way out."""


@pytest.mark.technique("cell=second_order")
@pytest.mark.parametrize("grammar", SYNCHRONISING)
def test_once_the_verdict_is_fixed_no_gradient_tells_one_state_from_another(grammar: Grammar) -> None:
    cell = automaton(grammar)
    fixed = torch.tensor([int(symbol) for symbol in SYNCHRONISING[grammar]])
    for rest in (fixed[:0], (uniform(100, seed=5) > 0).long()):
        J = states_jacobian(cell, torch.cat([fixed, rest]))
        assert torch.linalg.matrix_rank(J) == 1
        assert torch.equal(J, J[:1].expand_as(J)), "from every state the same way"
    before = states_jacobian(cell, fixed[:-1]) if len(fixed) > 1 else torch.eye(cell.hidden, dtype=torch.float64)
    assert torch.linalg.matrix_rank(before) > 1


@pytest.mark.technique("cell=second_order")
def test_a_second_order_step_is_the_paper_s_sum_over_states_and_inputs() -> None:
    cell = drawn_cell("second_order", replicas=2)
    x, h = uniform(2, 5, 3, seed=1), uniform(2, 5, 4, seed=2)
    weight = torch.stack([cell.block(cell.weight_recurrent, f"input{k}") for k in range(3)], dim=1)
    expected = torch.tanh(torch.einsum("rkji,rbj,rbk->rbi", weight, h, x) + x @ cell.weight_input + cell.bias)
    torch.testing.assert_close(cell.step(x, (h,))[0], expected, **CLOSE)


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("option", ["second_order", "cascaded"])
def test_an_orthogonal_parametrisation_makes_every_input_s_matrix_orthogonal(option: str, inputs: int) -> None:
    task = ["task=copy", "task.length=5"] if inputs == 1 else ["task=tomita"]
    given = (f"cell={option}", "cell.hidden=4", "parametrisation=cayley", "engine=autograd", "dtype=float64", *task)
    model = build(validate(composed(*given, *(["task.input=scalar"] if inputs == 1 else [])))).model([0, 1])
    cell = model.effective().cell
    assert cell.blocks == (*(["bias"] if option == "cascaded" else []), *(f"input{k}" for k in range(inputs)))
    for name in cell.blocks:
        block = cell.block(cell.weight_recurrent, name)
        torch.testing.assert_close(block.mT @ block, torch.eye(4, dtype=torch.float64).expand(2, 4, 4), **CLOSE)
        assert not torch.equal(block[0], block[1])


def mi(**starts: float) -> Cell:
    """MI-RNN, drawn, with its factors where they start."""
    cell = drawn_cell("multiplicative_integration", replicas=2)
    names = {"alpha": "gain_product", "beta1": "gain_recurrent", "beta2": "gain_input"}
    with torch.no_grad():
        for start, value in starts.items():
            getattr(cell, names[start]).fill_(value)
    return cell


@pytest.mark.technique("cell=multiplicative_integration")
def test_without_its_product_multiplicative_integration_is_the_elman_net() -> None:
    cell, elman, x = mi(alpha=0, beta1=1, beta2=1), drawn_cell("rnn", replicas=2), uniform(9, 2, 5, 3, seed=1)
    elman.load_state_dict({name: value for name, value in cell.state_dict().items() if not name.startswith("gain")})
    expected, found = backwards(elman, x), backwards(cell, x)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.technique("cell=multiplicative_integration")
def test_its_product_is_a_second_order_net_of_rank_one() -> None:
    cell, second = mi(beta1=0, beta2=0), drawn_cell("second_order", replicas=2)
    with torch.no_grad():
        second.weight_input.zero_()
        second.bias.copy_(cell.bias)
        for k in range(3):
            U_R1H = cell.weight_input[:, k : k + 1]
            second.block(second.weight_recurrent, f"input{k}").copy_(cell.gain_product * cell.weight_recurrent * U_R1H)
    x, h = uniform(7, 2, 5, 3, seed=1), (uniform(2, 5, 4, seed=2),)
    torch.testing.assert_close(
        unroll(cell, x, state=h).output_KRBH, unroll(second, x, state=h).output_KRBH, **CLOSE
    )  # from a state: at 0 a product stays there


@pytest.mark.technique("cell=multiplicative_integration")
def test_multiplicative_integration_is_the_paper_s_equation_and_its_factors_start_as_told() -> None:
    cell = drawn_cell("multiplicative_integration", replicas=2)
    x, h = uniform(2, 5, 3, seed=1), uniform(2, 5, 4, seed=2)
    xU, hW = x @ cell.weight_input, h @ cell.weight_recurrent
    a = cell.gain_product * xU * hW + cell.gain_recurrent * hW + cell.gain_input * xU + cell.bias
    torch.testing.assert_close(cell.step(x, (h,))[0], torch.tanh(a), **CLOSE)
    context = {"replicas": 2, "inputs": 3, "activation": torch.nn.Tanh}
    fresh = component("cell", "multiplicative_integration", context, alpha=0.25, beta1=0.5, beta2=2.0)
    assert [set(g.unique().tolist()) for g in (fresh.gain_product, fresh.gain_recurrent, fresh.gain_input)] == [
        {0.25}, {0.5}, {2.0}
    ]  # fmt: skip


@pytest.mark.technique("cell=cascaded")
def test_a_cascaded_net_is_of_second_order_in_state_and_input_with_ones() -> None:
    cell, second, x = drawn_cell("cascaded", replicas=2), drawn_cell("second_order", replicas=2, inputs=4), 3
    names = {"bias": "input3", **{f"input{k}": f"input{k}" for k in range(x)}}  # the 1 is the last input there
    inputs = uniform(9, 2, 5, x, seed=1)
    with torch.no_grad():
        second.weight_input[:, :x], second.weight_input[:, x:] = cell.weight_input, 0.0
        second.bias.copy_(cell.bias)
        for ours, theirs in names.items():
            second.block(second.weight_recurrent, theirs).copy_(cell.block(cell.weight_recurrent, ours))
    found = backwards(cell, inputs)
    expected = backwards(second, torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=-1))
    for name in ("output", "adjoint", "bias"):
        torch.testing.assert_close(found[name], expected[name], **CLOSE)
    torch.testing.assert_close(found["input"], expected["input"][..., :x], **CLOSE)
    torch.testing.assert_close(found["weight_input"], expected["weight_input"][:, :x], **CLOSE)
    torch.testing.assert_close(found["bias"], expected["weight_input"][:, x:], **CLOSE)  # U of the 1 is a bias
    for ours, theirs in names.items():
        of_block = (cell.block(found["weight_recurrent"], ours), second.block(expected["weight_recurrent"], theirs))
        torch.testing.assert_close(*of_block, **CLOSE)


@pytest.mark.technique("cell=cascaded")
def test_without_products_a_cascaded_net_is_the_elman_net() -> None:
    cell, elman, x = drawn_cell("cascaded", replicas=2), drawn_cell("rnn", replicas=2), uniform(9, 2, 5, 3, seed=1)
    with torch.no_grad():
        for k in range(3):
            cell.block(cell.weight_recurrent, f"input{k}").zero_()
        elman.weight_recurrent.copy_(cell.block(cell.weight_recurrent, "bias"))
        elman.weight_input.copy_(cell.weight_input)
        elman.bias.copy_(cell.bias)
    found, expected = backwards(cell, x), backwards(elman, x)
    for name in ("output", "adjoint", "input", "weight_input", "bias"):
        torch.testing.assert_close(found[name], expected[name], **CLOSE)
    of_bias = cell.block(found["weight_recurrent"], "bias")
    torch.testing.assert_close(of_bias, expected["weight_recurrent"], **CLOSE)


@pytest.mark.technique("cell=cascaded")
def test_the_context_net_sets_the_weights_that_the_function_net_answers_with() -> None:
    cell = drawn_cell("cascaded", replicas=2)
    assert isinstance(cell, CascadedRNN)
    h, x = uniform(2, 5, 4, seed=2), uniform(2, 5, 3, seed=1)
    bias_RBH, weight_RBIH = cell.function_net(h)
    assert weight_RBIH.shape == (2, 5, 3, 4)
    expected = torch.tanh(torch.einsum("rbi,rbih->rbh", x, weight_RBIH) + bias_RBH)
    torch.testing.assert_close(cell.step(x, (h,))[0], expected, **CLOSE)
    (of_zero, weights_of_zero) = cell.function_net(torch.zeros_like(h))
    assert torch.equal(of_zero, cell.bias.expand_as(of_zero)), "of no state: the context net's own biases"
    assert torch.equal(weights_of_zero, cell.weight_input.unsqueeze(1).expand_as(weights_of_zero))
