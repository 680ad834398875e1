"""Dropout: what is dropped, where, by whose random numbers, and that evaluation drops nothing."""

import pytest
import torch
from helpers import metrics, only_run, read, rnnlab
from moments import small_experiment
from support import component, drawn_cell, leaf, options, uniform
from torch import Tensor

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.contract import ConfigError
from rnnlab.dropout.dropout import Dropout, Noise

T, R, B, H = 5, 3, 4, 4
SEEDS = [4, 1, 7]
INPUTS = uniform(T, R, B, 3, seed=1)
RECURRENT = {"inputs_rate": 0.0, "recurrent_rate": 0.5, "outputs_rate": 0.0}
ALL = [option for option in options("dropout") if option != "none"]


def noise(step: int = 1, seeds: list[int] = SEEDS) -> Noise:
    return Noise(seeds, step, INPUTS)


def outputs(dropout: Dropout, cell: Cell, given: Noise, inputs: Tensor = INPUTS, scored: int = T) -> Tensor:
    dropped, seen = dropout.drop(cell, inputs, given)
    return dropout.drop_outputs(unroll(dropped, seen, last=scored).output_KRBH, given)


def test_masks_keep_the_mean() -> None:
    mask = noise().kept(0.3, 200, 20, 30)
    assert mask.shape == (200, R, 20, 30)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.7}
    assert mask.mean().item() == pytest.approx(1, abs=0.01)
    assert (mask == 0).double().mean().item() == pytest.approx(0.3, abs=0.005)


@pytest.mark.parametrize("option", ALL)
def test_a_rate_of_zero_changes_nothing(option: str) -> None:
    none = dict.fromkeys([key for key in leaf("dropout", option) if key != "_target_"], 0.0)
    for cell_option in ("lstm", "gru"):
        cell, dropout = drawn_cell(cell_option, replicas=R), component("dropout", option, **none)
        torch.testing.assert_close(outputs(dropout, cell, noise()), unroll(cell, INPUTS).output_KRBH, rtol=0, atol=0)
        expected = unroll(dropout.expected(cell), INPUTS).output_KRBH
        torch.testing.assert_close(expected, unroll(cell, INPUTS).output_KRBH, rtol=0, atol=0)


@pytest.mark.technique("dropout=non_recurrent")
def test_non_recurrent_dropout_leaves_the_state_whole() -> None:
    cell = drawn_cell("lstm", replicas=R)
    dropout, given = component("dropout", "non_recurrent", inputs_rate=0.0, outputs_rate=0.5), noise()
    assert dropout.drop(cell, INPUTS, given)[0] is cell
    plain = unroll(cell, INPUTS, last=2).output_KRBH
    found = dropout.drop_outputs(plain, given)
    assert ((found == 0) | torch.isclose(found, 2 * plain)).all()
    assert 0.3 < (found == 0).double().mean() < 0.7
    _, seen = component("dropout", "non_recurrent", inputs_rate=0.5, outputs_rate=0.0).drop(cell, INPUTS, noise())
    assert 0.3 < (seen == 0).double().mean() < 0.7


@pytest.mark.technique("dropout=variational")
@pytest.mark.parametrize("option", ["rnn", "lstm", "gru"])
def test_variational_dropout_is_one_net_of_fewer_connections_for_the_whole_sequence(option: str) -> None:
    """Masking h_{t-1} in the products is taking rows out of the recurrent weights, for one example."""
    cell, dropout = drawn_cell(option), component("dropout", "variational", **RECURRENT)
    inputs, given = INPUTS[:, :1, :1], noise(seeds=[5])
    found = outputs(dropout, cell, given, inputs)
    again = noise(seeds=[5])
    again.kept(0.0, 1, 1, 3)
    mask = again.kept(0.5, 1, 1, H)[0, 0, 0]
    assert (mask == 0).any()
    with torch.no_grad():
        cell.weight_recurrent.mul_(mask.view(1, H, 1))
    torch.testing.assert_close(found, unroll(cell, inputs).output_KRBH)


@pytest.mark.technique("dropout=gate_inputs")
def test_gate_inputs_leave_the_straight_path_of_the_cell_state() -> None:
    """It is the cell's own step with other x and h, and c as it is."""
    cell, rate = drawn_cell("lstm", replicas=R), 0.5
    dropped, seen = component("dropout", "gate_inputs", rate=rate).drop(cell, INPUTS, noise())
    again = noise()
    inputs, heard = again.kept(rate, T, B, 3), again.kept(rate, T, B, H)
    state = cell.zero_state(INPUTS[0])
    for t in range(T):
        state = cell.step(INPUTS[t] * inputs[t], (state[0] * heard[t], state[1]))[1]
    found = unroll(dropped, seen).state
    for ours, expected in zip(found, state, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.technique("dropout=candidate")
def test_the_candidate_is_dropped_and_the_memory_is_not() -> None:
    for option in ("lstm", "gru"):
        cell = drawn_cell(option, replicas=R)
        dropped, _ = component("dropout", "candidate", rate=0.5).drop(cell, INPUTS, noise())
        mask, state = noise().kept(0.5, T, B, H), cell.zero_state(INPUTS[0])
        for t in range(T):
            gates, (_, *rest), old = cell.gates(INPUTS[t], state), cell.step(INPUTS[t], state)[1], state
            if option == "lstm":
                c = gates["forget"] * old[1] + (rest[0] - gates["forget"] * old[1]) * mask[t]
                state = (gates["output"] * torch.tanh(c), c)
            else:
                carried = gates["update"] * old[0]
                state = (carried + (cell.step(INPUTS[t], state)[0] - carried) * mask[t],)
        torch.testing.assert_close(unroll(dropped, INPUTS).state, state)
        assert cell.get_submodule("activation" if option == "gru" else "candidate_activation") is not None


@pytest.mark.technique("dropout=zoneout")
def test_zoned_out_units_keep_state_and_gradient() -> None:
    cell, dropout = drawn_cell("lstm", replicas=R), component("dropout", "zoneout", output_rate=0.3, memory_rate=0.6)
    dropped, _ = dropout.drop(cell, INPUTS, noise())
    again = noise()
    keeps = [again.chosen(0.3, T, B, H), again.chosen(0.6, T, B, H)]
    state, mean = cell.zero_state(INPUTS[0]), cell.zero_state(INPUTS[0])
    for t in range(T):
        new = cell.step(INPUTS[t], state)[1]
        state = tuple(torch.where(keep[t], old, n) for keep, old, n in zip(keeps, state, new, strict=True))
        fresh = cell.step(INPUTS[t], mean)[1]
        mean = tuple(z * old + (1 - z) * n for z, old, n in zip((0.3, 0.6), mean, fresh, strict=True))
    torch.testing.assert_close(unroll(dropped, INPUTS).state, state)
    torch.testing.assert_close(unroll(dropout.expected(cell), INPUTS).state, mean)
    still, _ = component("dropout", "zoneout", output_rate=0.999999, memory_rate=0.999999).drop(cell, INPUTS, noise())
    start = tuple(uniform(R, B, H, seed=k).requires_grad_() for k in range(2))
    end = unroll(still, INPUTS, state=start).state
    torch.autograd.backward(sum(s.sum() for s in end))
    assert all(torch.equal(s.grad, torch.ones_like(s)) for s in start if s.grad is not None)


@pytest.mark.parametrize("option", ALL)
def test_evaluation_drops_nothing_and_training_does(option, in_tmp_path):
    for name in ("none", option):
        assert rnnlab(f"dropout={name}", "steps=1", "log.every=1", f"name={name}", "task.batch=20") == 0
    (plain, trained), (plain_loss, loss) = (
        [next(row for row in metrics(only_run(name)) if row["split"] == split) for name in ("none", option)]
        for split in ("eval", "train")
    )
    assert loss["loss"] != plain_loss["loss"]
    assert (plain["loss"] == pytest.approx(trained["loss"], rel=1e-4)) == (option != "zoneout")
    manifest = read(only_run(option), "manifest.json")
    assert (manifest["engine"] == "autograd") == (option != "non_recurrent")
    assert option == "non_recurrent" or f"dropout={option}" in manifest["engine_because"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dropout=candidate", "cell=rnn"], "dropout=candidate: not allowed. It acts within a step"),
        (["dropout=zoneout", "regulariser=omega", "cell=rnn"], "regulariser=omega: not allowed."),
        (
            ["dropout=zoneout", "engine=fused"],
            "engine=fused: not allowed here, because it does not serve dropout=zoneout",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small_experiment(*overrides)
    assert message in str(caught.value)
