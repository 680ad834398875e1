"""The gates probe against closed forms: one unit by hand, the chain of single steps, gates that are shut or alone."""

import numpy as np
import pytest
import torch
from helpers import only_run, read_probes, rnnlab
from moments import moment
from support import component

from rnnlab.probes.gates import LEVELS


def measured(taken):
    return {name: value.detach().numpy() for name, value in component("probe", "gates").measure(taken).items()}


def weights_of_one_unit(cell):
    names = {"i": "input", "f": "forget", "o": "output", "g": "candidate"}
    parameters = (cell.weight_input, cell.weight_recurrent, cell.bias)
    return {k: [cell.block(p.detach(), name)[0].numpy() for p in parameters] for k, name in names.items()}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def one_unit(cell, x_TI):
    """Gates, cells and d c_T / d c_t of an LSTM with H = 1 on one example, by forward differentiation in numbers."""
    W = weights_of_one_unit(cell)
    h = c = 0.0
    gates, tangents, result = [], [], []
    for x in x_TI:
        a = {k: (x @ U).item() + h * w.item() + b.item() for k, (U, w, b) in W.items()}
        i, f, o, g = *(sigmoid(a[k]) for k in "ifo"), np.tanh(a["g"])
        slope = {"i": i * (1 - i), "f": f * (1 - f), "o": o * (1 - o), "g": 1 - g * g}
        by = {k: slope[k] * W[k][1].item() for k in "ifog"}
        old, c = c, f * c + i * g
        moved = []
        for dh, dc in tangents:  # of h and c by each earlier c_t
            dc = f * dc + (old * by["f"] + g * by["i"] + i * by["g"]) * dh
            moved.append((by["o"] * dh * np.tanh(c) + o * (1 - np.tanh(c) ** 2) * dc, dc))
        h = o * np.tanh(c)
        tangents = [*moved, (o * (1 - np.tanh(c) ** 2), 1.0)]
        gates.append((i, f, o))
        result = [dc for _, dc in tangents]
    return np.array(gates), np.array(result)


def test_one_unit_by_hand():
    taken = moment("cell=lstm", "cell.hidden=1", "seeds=1", "initialiser=xavier", "bias_initialiser=uniform", steps=3)
    found, cell = measured(taken), taken.model.cell
    inputs = taken.batch.input[:, 0].numpy()
    gates, slopes = zip(*(one_unit(cell, inputs[:, b]) for b in range(inputs.shape[1])), strict=True)
    gates_BTG, slopes_BT = np.stack(gates), np.stack(slopes)
    for at, name in enumerate(("input", "forget", "output")):
        np.testing.assert_allclose(found[f"{name}.quantiles"][0], np.quantile(gates_BTG[..., at], LEVELS), rtol=1e-9)
        of_step = np.quantile(gates_BTG[..., at], LEVELS, axis=0).T
        np.testing.assert_allclose(found[f"{name}.quantiles_at_step"][0], of_step, rtol=1e-9)
    forget_BT = gates_BTG[..., 1]
    np.testing.assert_allclose(found["forget.mean"], [forget_BT.mean()], rtol=1e-9)
    np.testing.assert_allclose(found["c.memory_length"], [[1 / (1 - forget_BT.mean())]], rtol=1e-9)
    assert found["c.memory_length_median"] == found["c.memory_length"][0, 0]
    straight_BT = np.stack([forget_BT[:, t + 1 :].prod(1) for t in range(inputs.shape[0])], axis=1)
    share_BT = straight_BT / (straight_BT + np.abs(slopes_BT - straight_BT))
    assert share_BT[:, 0].max() < 0.999 < share_BT[:, -1].min(), "with one unit both paths count"
    np.testing.assert_allclose(found["c.straight_share_at_step"][0], share_BT.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["c.straight_gain_at_step"][0], straight_BT.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["c.gain_at_step"][0], np.abs(slopes_BT).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found["c.straight_share"], [share_BT.mean()], rtol=1e-9)


@pytest.mark.parametrize(
    ("option", "carried", "name"), [("lstm", "c", "forget"), ("gru", "h", "update"), ("lem", "z", "step_z")]
)
def test_the_gradient_is_the_chain_of_single_steps_and_absent_steps_do_not_count(option, carried, name):
    taken = moment(f"cell={option}", "task.shortest=4", "initialiser=xavier", "initialiser.gain=2", steps=2)
    found, batch, model = measured(taken), taken.batch, taken.model
    T, R, B, _ = batch.input.shape
    at = model.cell.states.index(carried)
    share, gain = np.full((R, T, B), np.nan), np.full((R, T, B), np.nan)
    opened, factor = (np.full((R, T, B, model.cell.hidden), np.nan) for _ in range(2))
    for b in range(B):
        for r in range(R):
            begin = int(batch.mask[:, r, b].int().argmax())
            state, trail = model.cell.zero_state(batch.input[0, :, b : b + 1]), []
            for t in range(begin, T):
                x = batch.input[t, :, b : b + 1]
                gates = model.cell.gates(x, state)
                opened[r, t, b] = gates[name][r, 0].detach()
                factor[r, t, b] = model.cell.kept(gates)[carried][r, 0].detach()
                state = tuple(s.detach().requires_grad_() for s in state)
                trail.append((state, model.cell.step(x, state)[1]))
                state = trail[-1][1]
            output = trail[-1][1][0].unsqueeze(0)
            (v,) = torch.autograd.grad(
                (model.readout(output)[r, 0, 0, 0] - batch.target[0, r, b]).square(), state[at], retain_graph=True
            )
            arriving = [v if k == at else torch.zeros_like(v) for k in range(len(state))]
            straight = v[r, 0].clone()
            for t in reversed(range(begin, T)):
                before, made = trail[t - begin]
                # The total derivative by made[at]: what arrives at it, and through the others of the same step.
                total = torch.autograd.grad(made, made[at], arriving, retain_graph=True)[0][r, 0]
                share[r, t, b] = straight.norm() / (straight.norm() + (total - straight).norm())
                gain[r, t, b] = total.norm() / v[r, 0].norm()
                arriving = torch.autograd.grad(made, before, arriving, retain_graph=True)
                straight = straight * torch.from_numpy(factor[r, t, b])
    assert np.isnan(share).any()
    for key, value in {"straight_share_at_step": share, "gain_at_step": gain}.items():
        expected = torch.from_numpy(value).nanmean(2).numpy()  # NaN where no example has the step
        np.testing.assert_allclose(found[f"{carried}.{key}"], expected, rtol=1e-8, err_msg=key)
    for r in range(R):
        np.testing.assert_allclose(
            found[f"{name}.quantiles"][r], np.quantile(opened[r][~np.isnan(opened[r])], LEVELS), rtol=1e-9
        )
    np.testing.assert_allclose(found[f"{carried}.memory_length"], 1 / (1 - np.nanmean(factor, axis=(1, 2))), rtol=1e-8)


def test_without_recurrent_weights_all_of_it_is_straight_and_with_shut_gates_nothing():
    def alone(model):
        with torch.no_grad():
            model.cell.weight_recurrent.zero_()

    def shut(model):
        with torch.no_grad():
            model.cell.block(model.cell.bias, "forget").fill_(-60.0)

    found = measured(moment("cell=lstm", prepare=alone))
    np.testing.assert_allclose(found["c.straight_share_at_step"], 1, rtol=1e-9)
    np.testing.assert_allclose(found["c.gain_at_step"], found["c.straight_gain_at_step"], rtol=1e-9)
    found = measured(moment("cell=lstm", prepare=shut))
    assert (found["c.straight_share_at_step"][:, :-1] < 1e-12).all()
    assert (found["c.straight_share_at_step"][:, -1] == 1).all()
    np.testing.assert_allclose(found["c.memory_length"], 1, rtol=1e-12)


def test_it_is_refused_alone_for_a_cell_without_gates_and_left_out_of_a_bundle(in_tmp_path, capsys):
    assert rnnlab("cell=rnn", "+probe@probes.gates=gates") == 2
    message = capsys.readouterr().err
    assert "probes.gates: not allowed. cell=rnn has no gates" in message
    assert rnnlab("cell=rnn", "probes=full", "steps=2", "name=bundle") == 0
    assert "probes.gates measures nothing here: cell=rnn has no gates." in "".join(capsys.readouterr())
    (taken,) = read_probes(only_run("bundle")).values()
    assert any(name.startswith("weights.") for name in taken)
    assert not any(name.startswith("gates.") for name in taken)
