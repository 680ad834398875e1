"""The way of the gradient back through time: against the oracle, and where theory says what it must be."""

import math

import numpy as np
import pytest
import torch
from moments import moment
from support import ACTIVATIONS, CELLS, component

from rnnlab.bptt.reverse import reverse_sweep
from rnnlab.diagnose import decay
from rnnlab.diagnose.transport import Transport, carrier, transports
from rnnlab.tasks.task import Batch

MASKED = ("task=adding", "task.shortest=4")
ALL_SCORED = ("task=copy", "task.symbols=2")


def transport(model, task, batch) -> Transport:
    """Of the one cell."""
    (way,) = transports(model, task, batch).values()
    return way


def taken(*overrides, prepare=None):
    """(model, task, batch) of one replica, parameters without gradients."""
    step = moment("seeds=1", *overrides, prepare=prepare)
    return step.model.requires_grad_(False), step.task, step.batch


def gains_by_the_oracle(model, task, batch):
    """From an explicit reverse sweep that starts at the last step's loss alone."""
    outputs, state = [], model.cell.zero_state(batch.input[0])
    inputs = model.cell.told(batch.input, batch.mask, None)
    for t, input_RBI in enumerate(inputs):
        output, new = model.cell.step(input_RBI, state)
        live = torch.ones_like(new[0][..., :1], dtype=torch.bool) if batch.mask is None else batch.mask[t].unsqueeze(-1)
        state = tuple(torch.where(live, n, old) for n, old in zip(new, state, strict=True))
        outputs.append(torch.where(live, output, 0.0))
    kept = torch.stack(outputs[-task.scored :]).requires_grad_()
    (direct,) = torch.autograd.grad(task.losses(model.readout(kept), batch).sum(), kept)
    cotangent = torch.zeros_like(torch.stack(outputs))
    cotangent[-1] = direct[-1]
    model.requires_grad_(True)  # the oracle gives gradients of parameters too
    swept = reverse_sweep(model.cell, inputs, cotangent, mask_TRB=batch.mask)
    model.requires_grad_(False)
    norm_TB = swept.adjoints[model.cell.states.index(carrier(model.cell))][:, 0].norm(dim=-1)
    if batch.mask is not None:
        norm_TB = norm_TB.masked_fill(~batch.mask[:, 0], torch.nan)
    return (norm_TB / norm_TB[-1]).nanmean(-1).numpy()


OF_ONE_ACTIVATION = ("rnn", "rnn_layernorm", "indrnn", "fully_recurrent")
OF_ONE_ACTIVATION += ("second_order", "cascaded", "multiplicative_integration")
"""h_t = phi(a_t)."""


@pytest.mark.parametrize("task", [(), MASKED, ALL_SCORED])
@pytest.mark.parametrize("cell", CELLS)
def test_gains_are_those_of_the_oracle_and_the_causes_add_up(cell, task):
    model, task, batch = taken(f"cell={cell}", "cell.hidden=9", *task)
    way = transport(model, task, batch)
    np.testing.assert_allclose(way.gain_T, gains_by_the_oracle(model, task, batch), rtol=1e-9)
    assert way.gain_T[-1] == pytest.approx(1)
    change = np.log10(way.gain_T[:-1]) - np.log10(way.gain_T[1:])
    form = {"slope", "weights"} if cell in OF_ONE_ACTIVATION else {"gate", "detours"} if model.cell.carriers else set()
    assert set(way.causes) == form
    if form:
        np.testing.assert_allclose(sum(way.causes.values())[1:], change, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_of_an_elman_net_has_its_split(activation):
    way = transport(*taken("cell=rnn", f"activation={activation}", "initialiser=identity"))
    assert np.isfinite(way.causes["slope"][1:]).any()
    if activation != "sigmoid":
        assert np.nanmax(way.causes["slope"]) < 1e-12  # |phi'| <= 1
    else:
        assert np.nanmax(way.causes["slope"]) < math.log10(1 / 4)


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_a_linear_orthogonal_net_loses_its_gain_at_every_step_and_its_weights_do_it(gain):
    way = transport(*taken("cell=rnn", "activation=identity", f"initialiser.gain={gain}"))
    np.testing.assert_allclose(way.causes["weights"][1:], math.log10(gain), atol=1e-12)
    np.testing.assert_allclose(way.causes["slope"], 0, atol=1e-12)
    assert decay.slope(way.gain_T, 6) == pytest.approx(-math.log10(gain), abs=1e-12)
    assert decay.lost(way.gain_T, 6) == pytest.approx(-6 * math.log10(gain), abs=1e-12)
    half = decay.half_life(way.gain_T, 6)
    assert half == pytest.approx(1) if gain == 0.5 else half > 1e9


def test_an_lstm_without_recurrent_weights_has_no_path_beside_the_gate():
    def prepare(model):
        with torch.no_grad():
            model.cell.weight_recurrent.zero_()
            model.cell.block(model.cell.weight_input, "forget").zero_()
            model.cell.block(model.cell.bias, "forget").fill_(1.0)

    way = transport(*taken("cell=lstm", prepare=prepare))
    np.testing.assert_allclose(way.causes["gate"][1:], math.log10(1 / (1 + math.exp(-1))), atol=1e-12)
    np.testing.assert_allclose(way.causes["detours"][1:], 0, atol=1e-12)


@pytest.mark.parametrize("task", [(), MASKED])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_gates_part_is_the_straight_path_of_the_gates_probe(cell, task):
    step = moment("seeds=1", f"cell={cell}", "initialiser.gain=3", *task)
    probed = component("probe", "gates").measure(step)
    way = transport(step.model.requires_grad_(False), step.task, step.batch)
    name = carrier(step.model.cell)
    straight_T = probed[f"{name}.straight_gain_at_step"][0].numpy()
    np.testing.assert_allclose(np.cumsum(way.causes["gate"][:0:-1])[::-1], np.log10(straight_T)[:-1], atol=1e-9)
    assert np.ptp(way.causes["gate"][1:]) > 0.01, "gates that differ from step to step"


def test_the_way_takes_the_same_parameters_and_leaves_no_hook():
    model, task, batch = taken("cell=rnn")
    before = [p.clone() for p in model.parameters()]
    transport(model, task, batch)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_loss_without_a_derivative_has_no_gain_and_no_cause():
    model, task, batch = taken("cell=rnn", "task.markers=anywhere")
    answer = model.readout(torch.zeros(1, 1, batch.input.shape[2], 5, dtype=torch.float64))
    still = component("activation", "relu")
    model.cell.activation = still
    with torch.no_grad():
        model.cell.bias.fill_(-100)
        batch = Batch(batch.input, answer[:, 0, :, 0].unsqueeze(0))
    way = transport(model, task, batch)
    assert np.isnan(way.gain_T).all()
    assert all(np.isnan(value).all() for value in way.causes.values())


def test_figures_of_a_curve():
    gain_T = 10.0 ** np.array([-9, -8, -7, -6, -5, -4, -3, -2, -1, 0])
    assert decay.lost(gain_T, 8) == pytest.approx(8)
    assert decay.slope(gain_T, 8) == pytest.approx(1)
    assert decay.half_life(gain_T, 8) == pytest.approx(math.log10(2))
    assert decay.reach(gain_T, 10**-2.5) == 3
    assert decay.reach(np.ones(4), 0.1) == 4
    assert decay.quarters(gain_T, 8) == pytest.approx([2, 2, 2, 2])
    assert decay.grown(gain_T, 8) == (0, 0)
    assert decay.grown(gain_T[::-1] / gain_T[0], 8)[1] == 8
    assert decay.lost(np.array([0.0, 1.0]), 1) == math.inf
