"""What each adjoint rule promises."""

import pytest
import torch
from moments import moment, small_experiment
from support import component, drawn_cell, options, uniform
from torch import Tensor

from rnnlab.adjoints.clip_norm import ClipNorm
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.contract import ConfigError

T, B, H = 9, 2, 4
INPUTS = uniform(T, 1, B, 3, seed=1)


def norms(cell: Cell, rule: AdjointRule, weight: float = 1.0, scored: int = 1) -> Tensor:
    """(S, T, B), and parameter gradients left in the cell."""
    cell.zero_grad()
    unrolled = unroll(cell, INPUTS, rule=rule.draw([0], 1, len(INPUTS), INPUTS), record=True, last=scored)
    (weight * unrolled.output_KRBH.square()).sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    return unrolled.adjoint_norm_STRB[:, :, 0]


@pytest.mark.technique("adjoint=scale")
@pytest.mark.parametrize("option", ["rnn", "lstm", "gru"])
def test_scale_multiplies_once_per_step_back(option: str) -> None:
    cell = drawn_cell(option)
    full, scaled = norms(cell, component("adjoint", "none")), norms(cell, component("adjoint", "scale", factor=0.8))
    steps_back = torch.arange(T - 1, -1, -1).view(-1, 1)
    torch.testing.assert_close(scaled, full * 0.8**steps_back)


@pytest.mark.technique("adjoint=h_detach")
def test_h_detach_leaves_the_product_of_the_forget_gates() -> None:
    cell = drawn_cell("lstm", seed=1)
    cell.zero_grad()
    state, forget = cell.zero_state(INPUTS[0]), []
    for input_RBI in INPUTS:
        forget.append(cell.gates(input_RBI, state)["forget"])
        state = cell.step(input_RBI, state)[1]
    inputs = INPUTS
    unrolled = unroll(
        cell, inputs, rule=component("adjoint", "h_detach", share=1.0).draw([0], 1, len(inputs), inputs), vectors=True
    )
    unrolled.output_KRBH[-1].square().sum().backward()
    assert unrolled.adjoints is not None
    h, c = unrolled.adjoints
    for t in range(T - 1):
        torch.testing.assert_close(c[t], c[t + 1] * forget[t + 1].detach())
        assert (h[t] == 0).all()
    full = norms(cell, component("adjoint", "none"))
    assert (full[0, :-1] > 0).all()


@pytest.mark.technique("adjoint=clip_relative")
def test_clip_relative_goes_along_with_the_loss() -> None:
    """A loss a thousand times as large has gradients a thousand times as large; below the bound nothing changes."""
    cell, gradients = drawn_cell("rnn", bound=2.0), []
    for ratio, weight in ((0.5, 1.0), (0.5, 1000.0), (1e9, 1.0)):
        norms(cell, component("adjoint", "clip_relative", ratio=ratio), weight, scored=4)
        assert cell.weight_recurrent.grad is not None
        gradients.append(cell.weight_recurrent.grad.clone())
    norms(cell, component("adjoint", "none"), scored=4)
    torch.testing.assert_close(gradients[1], 1000 * gradients[0])
    assert torch.equal(gradients[2], cell.weight_recurrent.grad)
    assert not torch.allclose(gradients[0], gradients[2])


def test_clip_relative_bounds_by_the_greatest_direct_part_so_far() -> None:
    cell = drawn_cell("rnn", "identity", bound=2.0)
    with torch.no_grad():
        cell.weight_recurrent.copy_(3 * torch.eye(H))
    found = norms(cell, component("adjoint", "clip_relative", ratio=1.0))
    direct = found[0, -1]
    torch.testing.assert_close(found[0, :-1], (3 * direct).expand(T - 1, B))  # arrives tripled, leaves at the bound


@pytest.mark.technique("adjoint=truncate_unbiased")
def test_unbiased_truncation_has_the_full_gradient_on_average() -> None:
    N, steps = 4000, 5
    cell = drawn_cell("rnn", replicas=N, hidden=3)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter).clone())
    inputs = uniform(steps, 1, 1, 3, seed=2).expand(steps, N, 1, 3)

    def gradient(rule: AdjointRule) -> Tensor:
        cell.zero_grad()
        unroll(cell, inputs, rule=rule).output_KRBH[-1].square().sum().backward()
        assert cell.weight_input.grad is not None
        return cell.weight_input.grad.flatten(1).clone()

    full = gradient(component("adjoint", "none"))[0]
    drawn = gradient(component("adjoint", "truncate_unbiased", share=0.3).draw(list(range(N)), 1, len(inputs), inputs))
    error = drawn.std(0) / N**0.5
    assert ((drawn.mean(0) - full).abs() < 4.5 * error).all()
    assert (drawn.std(0) > 0.05 * full.abs()).all()


@pytest.mark.technique("adjoint=truncate_random")
def test_random_truncation_without_spread_is_truncation() -> None:
    cell, results = drawn_cell("gru"), []
    rules = (
        component("adjoint", "truncate_random", every=3, spread=0.0, halved=0.0),
        component("adjoint", "truncate", every=3),
    )
    for rule in rules:
        results.append(norms(cell, rule, scored=T))
    torch.testing.assert_close(*results, rtol=1e-12, atol=0)
    assert (results[0] > 0).all()


def test_random_segments_have_the_lengths_asked_for() -> None:
    rule = component("adjoint", "truncate_random", every=20, spread=3.0, halved=0.25)
    cuts = (rule.draw([5], 1, 100_000, torch.zeros(1)).factor_TR[:, 0] == 0).nonzero()[:, 0]
    lengths = cuts.diff().double()
    assert lengths.mean().item() == pytest.approx(0.75 * 20 + 0.25 * 10, rel=0.02)
    assert (lengths < 14).double().mean().item() == pytest.approx(0.25 * 0.88 + 0.75 * 0.015, abs=0.03)


DRAWN = ("h_detach", "truncate_random", "truncate_unbiased")


@pytest.mark.parametrize("option", DRAWN)
def test_every_replica_and_training_step_has_a_draw_of_its_own(option: str) -> None:
    rule = component("adjoint", option)
    inputs = torch.zeros(200, 3, 1, 1)
    together = rule.draw([4, 1, 7], 2, len(inputs), inputs).factor_TR
    assert torch.equal(together[:, 2:], rule.draw([7], 2, len(inputs), inputs).factor_TR)
    assert not torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together, rule.draw([4, 1, 7], 3, len(inputs), inputs).factor_TR)
    assert rule.draws
    assert not rule.draw([4], 2, 200, inputs).draws


class Halves(AdjointRule):
    """A rule of the user's own."""

    def carry(self, step: int, component: str, adjoint_RBH: Tensor) -> Tensor:
        return 0.5 * adjoint_RBH


class Below(ClipNorm):
    """One that inherits what it does."""


def test_a_rule_says_by_what_it_overrides_where_it_acts() -> None:
    made = {option: component("adjoint", option) for option in options("adjoint")}
    acts = {option: (rule.draws, rule.meets, rule.carries) for option, rule in made.items()}
    assert {option for option, (draws, _, _) in acts.items() if draws} == set(DRAWN)
    assert acts["none"] == acts["truncate"] == (False, False, False)
    assert acts["clip_norm"] == acts["clip_value"] == acts["clip_relative"] == (False, True, False)
    assert acts["scale"] == (False, False, True)
    assert Below(max_norm=1.0).meets
    assert [option for option, rule in made.items() if rule.needs_direct] == ["clip_relative"]
    for rule in made.values():
        drawn = rule.draw([0], 1, T, INPUTS)
        assert (drawn is rule) != rule.draws


def test_a_rule_of_one_s_own_overrides_one_method() -> None:
    cell = drawn_cell("lstm")
    assert torch.equal(norms(cell, Halves()), norms(cell, component("adjoint", "scale", factor=0.5)))
    assert torch.equal(norms(cell, AdjointRule()), norms(cell, component("adjoint", "none")))


@pytest.mark.parametrize("option", ["truncate_unbiased", "scale"])
def test_probes_go_by_the_rule_that_the_step_went_by(option: str) -> None:
    """The parts of the time steps add up to the gradient, and so do those of the examples."""
    taken = moment(f"adjoint={option}", "cell=rnn", steps=2)
    shares = component("probe", "contribution").measure(taken)["share"]
    torch.testing.assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adjoint=h_detach", "cell=gru"], "adjoint=h_detach: not allowed. It cuts the path through h"),
        (["adjoint=truncate_random"], "adjoint.every=20: not allowed. A sequence has 9 steps"),
        (["adjoint=scale", "engine=fused"], "engine=fused: not allowed here, because the adjoint rule Scale"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small_experiment(*overrides)
    assert message in str(caught.value)
