"""The autograd engine against the oracle, against finite differences, and against what theory says.

S state component, T time, R replica, B batch, I input, H hidden.
"""

import math

import pytest
import torch
from support import CELLS, DTYPES, component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.bptt.reverse import reverse_sweep
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell, State
from rnnlab.cells.torch_nn import to_torch

RULES = {
    "none": component("adjoint", "none"),
    "clip_norm": component("adjoint", "clip_norm", max_norm=0.4),
    "clip_value": component("adjoint", "clip_value", max_value=0.15),
    "truncate": component("adjoint", "truncate", every=3),
    "scale": component("adjoint", "scale", factor=0.7),
    "clip_relative": component("adjoint", "clip_relative", ratio=0.3),
    "h_detach": component("adjoint", "h_detach"),
    "truncate_random": component("adjoint", "truncate_random", every=3, spread=1.0),
}
SHAPES = {"usual": (8, 3, 4, 2, 5), "one step": (1, 2, 3, 2, 4), "all ones": (5, 1, 1, 1, 3)}


def drawn_state(cell: Cell, R: int, B: int) -> State:
    return tuple(uniform(R, B, width, seed=70 + s).requires_grad_() for s, width in enumerate(cell.widths))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("option", CELLS)
def test_adjoints_and_gradients_equal_the_oracle(option: str, rule: str, masked: bool, shape: str) -> None:
    T, R, B, width, H = SHAPES[shape]
    cell = drawn_cell(option, replicas=R, inputs=width, hidden=H)
    state, mask = drawn_state(cell, R, B), right_aligned_mask(T, R, B) if masked else None
    inputs = cell.told(uniform(T, R, B, width, seed=1), mask, None).requires_grad_()
    cotangent = uniform(T, R, B, cell.width, seed=2)

    taken = RULES[rule].draw(list(range(R)), 1, len(inputs), inputs)
    unrolled = unroll(cell, inputs, state=state, mask_TRB=mask, rule=taken, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()
    swept = reverse_sweep(cell, inputs, cotangent, state=state, mask_TRB=mask, rule=taken)

    close = {"rtol": 1e-10, "atol": 1e-13}
    torch.testing.assert_close(norms(unrolled), swept.norms(), **close)
    torch.testing.assert_close(inputs.grad, swept.input_TRBI, **close)
    for name, parameter in cell.named_parameters():
        torch.testing.assert_close(parameter.grad, swept.parameters[name], **close)
    for given, expected in zip(state, swept.state, strict=True):
        torch.testing.assert_close(torch.zeros_like(given) if given.grad is None else given.grad, expected, **close)


def norms(unrolled: Unrolled) -> Tensor:
    assert unrolled.adjoint_norm_STRB is not None
    return unrolled.adjoint_norm_STRB


def lstm_s_output(cell: Cell, h: Tensor, c: Tensor, change: Tensor) -> Tensor:
    return h / torch.tanh(c) * torch.tanh(c + change)


THROUGH_THE_STEP = {
    "lstm": lstm_s_output,
    "lstm1997": lstm_s_output,
    "lstm_coupled": lstm_s_output,
    "cornn": lambda cell, h, z, change: h + cell.dt * change,
}
"""What a change of the second state component makes of the first, at the same step."""
PERTURBED = [o for o in CELLS if o in THROUGH_THE_STEP or len(drawn_cell(o).states) == 1]


@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("option", PERTURBED)
def test_a_state_s_adjoint_is_what_a_small_change_of_it_does_to_the_loss(option: str, masked: bool) -> None:
    T, R, B, H = 4, 2, 2, 3
    cell = drawn_cell(option, replicas=R, inputs=2, hidden=H)
    mask, cotangent = right_aligned_mask(T, R, B) if masked else None, uniform(T, R, B, H, seed=4)
    inputs = cell.told(uniform(T, R, B, 2, seed=3), mask, None)
    unrolled = unroll(cell, inputs, mask_TRB=mask, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()

    def losses(s: int, at: int, change: Tensor) -> Tensor:
        """Each example's loss, with a change of component s at one step, seen by all that depends on it."""
        state, total = cell.zero_state(inputs[0]), torch.zeros(R, B, dtype=torch.float64)
        for t in range(T):
            old = state
            output, state = cell.step(inputs[t], state)
            if t == at and s == 0:
                output = output + change
                state = (output, *state[1:])
            if t == at and s == 1:
                output = THROUGH_THE_STEP[option](cell, *state, change)
                state = (output, state[1] + change)
            if mask is not None:
                state = tuple(torch.where(mask[t].unsqueeze(-1), n, o) for n, o in zip(state, old, strict=True))
                output = state[0]
            total = total + (cotangent[t] * output).sum(-1)
        return total

    eps = 1e-6
    with torch.no_grad():
        for s in range(len(cell.states)):
            for t in range(T):
                steps = eps * torch.eye(H, dtype=torch.float64)
                slopes = [(losses(s, t, d) - losses(s, t, -d)) / (2 * eps) for d in steps]
                expected = torch.stack(slopes).norm(dim=0)
                torch.testing.assert_close(norms(unrolled)[s, t], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("option", CELLS)
def test_a_mask_without_gaps_changes_nothing(option: str) -> None:
    results = []
    for mask in (None, torch.ones(6, 2, 3, dtype=torch.bool)):
        cell = drawn_cell(option, replicas=2)
        unrolled = unroll(cell, cell.told(uniform(6, 2, 3, 3, seed=5), mask, None), mask_TRB=mask, record=True)
        unrolled.output_KRBH[-1].square().sum().backward()
        results.append([unrolled.output_KRBH, norms(unrolled), *(p.grad for p in cell.parameters())])
    for without, full in zip(*results, strict=True):
        assert torch.equal(without, full)


@pytest.mark.parametrize("option", CELLS)
def test_a_masked_example_is_the_short_sequence_alone(option: str) -> None:
    T, short = 7, 4
    cell = drawn_cell(option)
    inputs = uniform(T, 1, 2, 3, seed=6)
    mask = torch.arange(T).view(-1, 1, 1) >= torch.tensor([0, T - short])
    together = unroll(cell, cell.told(inputs, mask, None), mask_TRB=mask, record=True)
    together.output_KRBH[-1].square().sum().backward()
    alone = unroll(cell, cell.told(inputs[T - short :, :, 1:], None, None), record=True)
    alone.output_KRBH[-1].square().sum().backward()
    torch.testing.assert_close(together.output_KRBH[-short:, :, 1:], alone.output_KRBH)
    torch.testing.assert_close(norms(together)[:, T - short :, :, 1:], norms(alone), rtol=1e-10, atol=0)
    assert (norms(together)[:, : T - short, :, 1] == 0).all()


@pytest.mark.parametrize("option", CELLS)
def test_recording_leaves_outputs_and_gradients_alone(option: str) -> None:
    results = []
    for record in (False, True):
        cell = drawn_cell(option, replicas=2, dtype=torch.float32)
        inputs = cell.told(uniform(6, 2, 3, 3, seed=7, dtype=torch.float32), None, None)
        unrolled = unroll(cell, inputs, record=record)
        unrolled.output_KRBH.square().sum().backward()
        assert (unrolled.adjoint_norm_STRB is None) != record
        results.append([unrolled.output_KRBH, *unrolled.state, *(p.grad for p in cell.parameters())])
    for plain, recorded in zip(*results, strict=True):
        assert torch.equal(plain, recorded)


@pytest.mark.parametrize("last", [1, 3, 6])
def test_last_keeps_the_trailing_outputs(last: int) -> None:
    cell, inputs = drawn_cell("lstm"), uniform(6, 1, 2, 3, seed=8)
    assert torch.equal(unroll(cell, inputs, last=last).output_KRBH, unroll(cell, inputs).output_KRBH[-last:])


@pytest.mark.parametrize("option", CELLS)
def test_a_sequence_may_be_unrolled_in_two_parts(option: str) -> None:
    cell = drawn_cell(option)
    inputs = cell.told(uniform(6, 1, 2, 3, seed=9), None, None)
    whole, first = unroll(cell, inputs), unroll(cell, inputs[:2])
    second = unroll(cell, inputs[2:], state=first.state)
    assert torch.equal(torch.cat([first.output_KRBH, second.output_KRBH]), whole.output_KRBH)
    for a, b in zip(second.state, whole.state, strict=True):
        assert torch.equal(a, b)


# Rules


def growing_net(factor: float, dtype: torch.dtype = torch.float64, hidden: int = 4) -> Cell:
    """h_t = factor * h_{t-1} Q + x_t with Q orthogonal: adjoint norms grow by `factor` at every step back."""
    cell = drawn_cell("rnn", "identity", hidden=hidden, inputs=2, dtype=dtype)
    with torch.no_grad():
        orthogonal = torch.linalg.qr(uniform(hidden, hidden, seed=11))[0]
        cell.weight_recurrent.copy_((factor * orthogonal).unsqueeze(0))
    return cell


def last_step_norms(cell: Cell, steps: int, cotangent_BH: Tensor, rule: str | None = None) -> Tensor:
    """(T, B): recorded adjoint norms for the loss cotangent . h_T."""
    B = len(cotangent_BH)
    inputs = uniform(steps, 1, B, cell.inputs, seed=12, dtype=cotangent_BH.dtype)
    unrolled = unroll(cell, inputs, rule=RULES[rule] if rule else None, record=True, last=1)
    (unrolled.output_KRBH[0, 0] * cotangent_BH).sum().backward()
    return norms(unrolled)[0, :, 0]


def test_clip_norm_bounds_what_travels_on_for_every_example_and_step() -> None:
    cotangent = torch.tensor([[1.0, 0, 0, 0], [1e-4, 0, 0, 0], [0, 0.2, 0.1, 0]], dtype=torch.float64)
    seen = last_step_norms(growing_net(1.5), 12, cotangent, "clip_norm")
    # The record is the adjoint as it arrives; one step earlier arrives 1.5 times what the rule let pass.
    torch.testing.assert_close(seen[:-1], 1.5 * seen[1:].clamp(max=0.4), rtol=1e-12, atol=0)
    assert (seen[:-1] <= 1.5 * 0.4 * (1 + 1e-12)).all()
    assert seen.max() > 0.4, "the record must be taken before the rule"
    free = last_step_norms(growing_net(1.5), 12, cotangent)
    assert torch.equal(seen[:, 1], free[:, 1]), "an example below the bound must not be touched"


@pytest.mark.technique("adjoint=clip_norm", "adjoint=clip_value")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_clipping_rules_bound_and_are_idempotent_and_leave_small_adjoints(name: str, dtype: torch.dtype) -> None:
    rule = RULES[name]
    adjoint = uniform(2, 6, 5, seed=13, dtype=dtype) * torch.logspace(-4, 4, 6, dtype=dtype).view(1, 6, 1)
    nothing = torch.zeros(2, 6, 1, dtype=torch.float64)
    once = rule.meet(adjoint, nothing)
    size, bound = ((lambda a: a.norm(dim=-1)), 0.4) if name == "clip_norm" else ((lambda a: a.abs().amax(-1)), 0.15)
    assert (size(once) <= bound * (1 + 4 * torch.finfo(dtype).eps)).all()
    small = size(adjoint) < bound
    assert small.any()
    assert not small.all()
    assert torch.equal(once[small], adjoint[small])
    torch.testing.assert_close(rule.meet(once, nothing), once, rtol=4 * torch.finfo(dtype).eps, atol=0)
    assert torch.equal(rule.meet(torch.zeros_like(adjoint), nothing), torch.zeros_like(adjoint))
    assert once.dtype == dtype


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_clip_norm_measures_what_float32_squares_cannot_hold(scale: float) -> None:
    adjoint = uniform(1, 3, 5, seed=14, dtype=torch.float32) * scale
    clipped = RULES["clip_norm"].meet(adjoint, torch.zeros(1, 3, 1, dtype=torch.float64))
    if scale < 1:
        assert torch.equal(clipped, adjoint)
    else:
        torch.testing.assert_close(clipped.norm(dim=-1), torch.full((1, 3), 0.4))


@pytest.mark.technique("adjoint=truncate")
@pytest.mark.parametrize("option", CELLS)
def test_truncation_lets_no_gradient_reach_an_input_before_the_cut(option: str) -> None:
    cell = drawn_cell(option)
    inputs = uniform(8, 1, 2, 3, seed=15).requires_grad_()
    unrolled = unroll(cell, cell.told(inputs, None, None), rule=RULES["truncate"], record=True, last=1)
    unrolled.output_KRBH.square().sum().backward()
    assert inputs.grad is not None
    reached = (inputs.grad != 0).any(-1).all(-1).squeeze(-1).tolist()
    assert reached == [False] * 6 + [True] * 2, "cuts at steps 3 and 6 of 8"
    # Some state component's adjoint: what an LRU's output was at an earlier step is not looked at again.
    assert ((norms(unrolled) > 0).flatten(2).all(-1).any(0) == torch.tensor(reached)).all()


@pytest.mark.parametrize("option", CELLS)
def test_truncated_adjoints_come_from_the_outputs_of_their_own_segment(option: str) -> None:
    cell = drawn_cell(option)
    inputs = cell.told(uniform(8, 1, 2, 3, seed=16), None, None)
    cotangent = uniform(8, 1, 2, cell.width, seed=17)
    whole = unroll(cell, inputs, rule=RULES["truncate"], record=True)
    (whole.output_KRBH * cotangent).sum().backward()
    state = None
    for start in (0, 3, 6):
        segment = slice(start, min(start + 3, 8))
        part = unroll(cell, inputs[segment], state=state, record=True)
        (part.output_KRBH * cotangent[segment]).sum().backward()
        assert torch.equal(norms(part), norms(whole)[:, segment])
        state = tuple(s.detach() for s in part.state)


@pytest.mark.parametrize("option", CELLS)
def test_no_rule_at_all_is_the_none_rule(option: str) -> None:
    cell = drawn_cell(option)
    inputs = cell.told(uniform(5, 1, 2, 3, seed=18), None, None)
    results = []
    for rule in (None, RULES["none"]):
        unrolled = unroll(cell, inputs, rule=rule, record=True)
        unrolled.output_KRBH.sum().backward()
        results.append(norms(unrolled))
    assert torch.equal(*results)


# What theory says, and the trap


def test_retain_grad_on_torch_nn_gives_the_direct_part_only_and_unroll_the_total() -> None:
    cell = drawn_cell("lstm", inputs=2)
    module = to_torch(cell, 0)
    inputs, target = uniform(9, 3, 2, seed=19), uniform(3, 4, seed=20)
    outputs, _ = module(inputs)
    outputs.retain_grad()
    (outputs[-1] - target).square().sum().backward()
    unrolled = unroll(cell, inputs.unsqueeze(1), record=True, last=1)
    (unrolled.output_KRBH[0, 0] - target).square().sum().backward()
    direct, total = outputs.grad.norm(dim=-1), norms(unrolled)[0, :, 0]
    assert (direct[:-1] == 0).all()
    assert (total > 0).all()
    torch.testing.assert_close(direct[-1], total[-1])


def test_a_linear_net_s_adjoint_decays_at_the_rate_of_its_matrix_over_1000_steps() -> None:
    seen = last_step_norms(growing_net(0.9, hidden=6), 1000, uniform(2, 6, seed=21))
    slopes = torch.log10(seen[1:]) - torch.log10(seen[:-1])
    torch.testing.assert_close(slopes, torch.full_like(slopes, -math.log10(0.9)), rtol=1e-9, atol=0)
    assert seen[0].max() < 1e-44


def test_norms_whose_float32_squares_are_zero_are_recorded() -> None:
    cotangent = uniform(2, 6, seed=22, dtype=torch.float32)
    seen = last_step_norms(growing_net(0.9, torch.float32, hidden=6), 700, cotangent)
    expected = cotangent.double().norm(dim=-1) * 0.9**699
    assert seen.dtype == torch.float64
    assert seen[0].max() < 1e-31
    torch.testing.assert_close(seen[0], expected, rtol=1e-3, atol=0)


def test_an_adjoint_is_one_example_s_own() -> None:
    """With the loss summed over examples, an example's norm does not depend on who else is in the batch."""
    cell, inputs = drawn_cell("gru"), uniform(6, 1, 5, 3, seed=23)
    together, alone = (unroll(cell, x, record=True, last=1) for x in (inputs, inputs[:, :, 3:4]))
    for unrolled in (together, alone):
        unrolled.output_KRBH.square().sum().backward()
    torch.testing.assert_close(norms(together)[..., 3:4], norms(alone), rtol=1e-12, atol=0)


def test_shapes_that_would_broadcast_in_silence_are_refused_in_the_test_run() -> None:
    cell, inputs = drawn_cell("rnn", replicas=2), uniform(5, 2, 3, 3, seed=24)
    with pytest.raises(Exception, match="mask_TRB"):
        unroll(cell, inputs, mask_TRB=torch.ones(5, 2, 1, dtype=torch.bool))
    with pytest.raises(Exception, match="input_TRBI"):
        unroll(cell, inputs[:, 0])
