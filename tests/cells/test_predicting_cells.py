"""Cells whose output is the prediction: the Jordan net and the fully recurrent net."""

import pytest
import torch
from helpers import rnnlab
from support import component, drawn_cell, net_of, uniform
from torch import Tensor, nn

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.torch_nn import to_torch
from rnnlab.laws.ground import draw
from rnnlab.probes.spectrum import singular_values

T, R, B, I, H, O = 7, 2, 3, 3, 5, 2
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def jordan(activation: str = "tanh", **changes: object) -> Cell:
    units = {"replicas": R, "units": H}
    context = {**units, "inputs": I, "outputs": O, "activation": lambda: component("activation", activation, units)}
    return draw(component("cell", "jordan", context, hidden=H, **changes))


@pytest.mark.technique("cell=jordan")
def test_a_jordan_net_with_linear_feedback_is_the_elman_net_whose_weights_are_a_product() -> None:
    """W_elman = V W and b_elman = b + d W, in values and in all gradients; both start from h = 0."""
    cell, inputs, cotangent = jordan(), uniform(T, R, B, I, seed=1).requires_grad_(), uniform(T, R, B, O, seed=2)
    start = cell.zero_state(inputs[0])
    y = unroll(cell, inputs, state=(cell.bias_output.expand(R, B, O), *start[1:])).output_KRBH
    elman = drawn_cell("rnn", replicas=R, inputs=I, hidden=H)
    for name in ("weight_input", "weight_recurrent", "bias"):
        delattr(elman, name)
    elman.weight_input = cell.weight_input
    elman.weight_recurrent = cell.weight_output @ cell.weight_recurrent
    elman.bias = cell.bias + cell.bias_output @ cell.weight_recurrent
    expected = unroll(elman, inputs).output_KRBH @ cell.weight_output + cell.bias_output
    torch.testing.assert_close(y, expected, **CLOSE)
    leaves = [inputs, *cell.parameters()]
    gradients = (torch.autograd.grad((out * cotangent).sum(), leaves) for out in (y, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def state_jacobian(cell: Cell) -> Tensor:
    """(D, D) of one example, all state components side by side."""
    state = tuple(uniform(R, 1, width, seed=k) for k, width in enumerate(cell.widths))

    def step(flat: Tensor) -> Tensor:
        parts = tuple(part.expand(R, 1, -1) for part in flat.split(cell.widths))
        return torch.cat([part[0, 0] for part in cell.step(uniform(R, 1, I, seed=9), parts)[1]])

    return torch.autograd.functional.jacobian(step, torch.cat([part[0, 0] for part in state]))


@pytest.mark.parametrize(("mu", "rank"), [(0.0, O), (0.6, 2 * O)])
def test_the_state_jacobian_has_no_higher_rank_than_there_are_outputs(mu: float, rank: int) -> None:
    """Of (y, h, c); with a self-connection the context itself is carried besides."""
    found = singular_values(state_jacobian(jordan(self_connection=mu)).unsqueeze(0))[0]
    assert (found[:O] > 1e-3).all()
    assert (found[rank:] < 1e-14).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_replica_with_one_output_computes_as_alone_to_the_bit(dtype: torch.dtype) -> None:
    def made(replicas: int) -> Cell:
        context = {"replicas": replicas, "inputs": 1, "outputs": 1, "activation": nn.Tanh}
        return component("cell", "jordan", context, hidden=64).to(dtype)

    together, alone = draw(made(3), dtype=dtype), made(1)
    for mine, many in zip(alone.parameters(), together.parameters(), strict=True):
        mine.data.copy_(many[1:2])
    x, d = uniform(5, 3, 33, 1, seed=1, dtype=dtype), uniform(5, 3, 33, 1, seed=2, dtype=dtype)
    for cell, one in ((together, slice(None)), (alone, slice(1, 2))):
        (unroll(cell, x[:, one]).output_KRBH * d[:, one]).sum().backward()
    for (name, mine), many in zip(alone.named_parameters(), together.parameters(), strict=True):
        assert torch.equal(mine.grad, many.grad[1:2]), name


@pytest.mark.parametrize("feedback", ["linear", "sigmoid", "softmax"])
def test_the_context_is_a_trace_of_the_outputs(feedback: str) -> None:
    cell, mu = jordan(feedback=feedback, self_connection=0.7), 0.7
    g = {"linear": nn.Identity(), "sigmoid": nn.Sigmoid(), "softmax": nn.Softmax(-1)}[feedback]
    state = cell.zero_state(uniform(R, B, I, seed=0))
    trace = torch.zeros(R, B, O, dtype=torch.float64)
    for t in range(4):
        trace = mu * trace + g(state[0])
        y, state = cell.step(uniform(R, B, I, seed=t), state)
        torch.testing.assert_close(state[2], trace, **CLOSE)
        h = torch.tanh(uniform(R, B, I, seed=t) @ cell.weight_input + trace @ cell.weight_recurrent + cell.bias)
        torch.testing.assert_close(y, h @ cell.weight_output + cell.bias_output, **CLOSE)


def test_under_full_teacher_forcing_no_gradient_crosses_time() -> None:
    cell, target = jordan(teacher_forcing=True), uniform(T, R, B, O, seed=3)
    told = cell.told(uniform(T, R, B, I, seed=1), None, target)
    unrolled = unroll(cell, told, record=True)
    unrolled.output_KRBH[-1].sum().backward()
    norm_STRB = unrolled.adjoint_norm_STRB
    assert (norm_STRB[:, :-1] == 0).all()
    assert (norm_STRB[:, -1] > 0).all()
    assert all((p.grad != 0).any() for p in cell.parameters())


def test_the_free_net_is_the_forced_one_where_its_outputs_are_the_targets() -> None:
    cell, inputs = jordan(teacher_forcing=True), uniform(T, R, B, I, seed=1)
    free = unroll(cell, cell.told(inputs, None, None)).output_KRBH
    forced = unroll(cell, cell.told(inputs, None, free.detach())).output_KRBH
    late = unroll(cell, cell.told(inputs, None, free[3:].detach())).output_KRBH
    assert torch.equal(forced, free)
    assert torch.equal(late, free)
    other = unroll(cell, cell.told(inputs, None, free[3:].detach() + 1)).output_KRBH
    assert torch.equal(other[:4], free[:4])
    assert not torch.equal(other[4:], free[4:])


@pytest.mark.technique("cell=fully_recurrent")
def test_the_fully_recurrent_net_is_torch_s_rnn_with_a_slice_as_readout() -> None:
    cell, inputs = drawn_cell("fully_recurrent", replicas=R, inputs=I, hidden=H), uniform(T, R, B, I, seed=1)
    prediction = net_of(cell, outputs=O).readout(unroll(cell, inputs).output_KRBH)
    elman = drawn_cell("rnn", replicas=R, inputs=I, hidden=H)
    elman.load_state_dict(cell.state_dict())
    for r in range(R):
        expected = to_torch(elman, r)(inputs[:, r])[0][..., :O]
        torch.testing.assert_close(prediction[r], expected, **CLOSE)


def test_real_time_recurrent_learning_adds_up_to_the_gradient_of_backpropagation() -> None:
    """p^k_ij(t+1) = phi'(s_k) [sum_l w_kl p^l_ij(t) + delta_ik z_j(t)], z = (x, y, 1) (Williams & Zipser 1989)."""
    cell = drawn_cell("fully_recurrent", replicas=1, inputs=I, hidden=H)
    inputs, target = uniform(T, 1, 1, I, seed=1), uniform(T, O, seed=2)
    out = net_of(cell, outputs=O).readout(unroll(cell, inputs).output_KRBH)[0, :, 0]
    (0.5 * (out - target).square().sum()).backward()
    expected = torch.cat([cell.weight_input.grad[0], cell.weight_recurrent.grad[0], cell.bias.grad[0]])

    weight = torch.cat([cell.weight_input[0], cell.weight_recurrent[0], cell.bias[0]]).detach()  # (z, k)
    y, p, found = torch.zeros(H).double(), torch.zeros(H, *weight.shape).double(), torch.zeros_like(weight)
    for t in range(T):
        z = torch.cat([inputs[t, 0, 0], y, torch.ones(1).double()])
        p = torch.einsum("lk,lji->kji", weight[I : I + H], p)
        p[torch.arange(H), :, torch.arange(H)] += z
        y = torch.tanh(z @ weight)
        p = (1 - y**2).view(-1, 1, 1) * p
        found += ((y[:O] - target[t]).view(-1, 1, 1) * p[:O]).sum(0)
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cell=fully_recurrent", "task=copy", "cell.hidden=8"], "cell.hidden=8: not allowed. task=copy has 9 outputs"),
        (["cell=fully_recurrent", "architecture=stacked"], "cell=fully_recurrent: not allowed. Its units are the"),
        (["cell=jordan", "architecture=stacked"], "cell=jordan: not allowed. Its output is the prediction"),
        (["cell=jordan", "parametrisation=cayley"], "parametrisation=cayley"),
        (["cell=jordan", "initialiser=identity"], "initialiser=identity"),
    ],
)
def test_what_they_make_no_sense_with(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rnnlab(*arguments) == 2
    assert told in capsys.readouterr().err
