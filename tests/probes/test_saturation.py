"""The saturation probe on units made to be steep, flat, still or dead, and against NumPy step by step."""

import numpy as np
import pytest
import torch
from moments import moment
from support import component


def measured(taken, **changes):
    return component("probe", "saturation", **changes).measure(taken)


def test_constructed_units():
    """One steep, one at a slope of 0.04, one that is flat, one that is steep and never moves, one that is both."""

    def prepare(model):
        with torch.no_grad():
            for parameter in model.cell.parameters():
                parameter.zero_()
            model.cell.weight_input[:, 0] = torch.tensor([0.01, 0.01, 0.0, 0.0, 0.01])
            model.cell.bias[:, 0] = torch.tensor([0.0, np.arctanh(np.sqrt(0.96)), 50.0, 0.0, 50.0])

    found = measured(moment("cell=rnn", prepare=prepare))
    assert {name: value.shape for name, value in found.items()} == {
        "activation.derivative": (2,),
        "activation.derivative_at_step": (2, 9),
        "activation.saturated": (2,),
        "activation.saturated_at_step": (2, 9),
        "activation.dead": (2,),
    }
    assert found["activation.saturated"].tolist() == [0.6, 0.6]
    assert found["activation.saturated_at_step"].unique().tolist() == [0.6]
    assert found["activation.dead"].tolist() == [0.6, 0.6]
    np.testing.assert_allclose(found["activation.derivative"], 2.04 / 5, atol=1e-3)


def test_the_thresholds():
    taken = moment("cell=rnn", "activation=sigmoid")
    assert measured(taken, saturated=0.251)["activation.saturated"].tolist() == [1, 1]
    assert measured(taken, saturated=0.01)["activation.saturated"].tolist() == [0, 0]
    assert measured(taken, dead=0.251)["activation.dead"].tolist() == [1, 1]
    assert measured(taken, dead=0.0)["activation.dead"].tolist() == [0, 0]


def test_relu_units_that_no_example_turns_on_are_dead_and_a_linear_net_never_saturates():
    def off(model):
        with torch.no_grad():
            model.cell.bias[:, 0, :2] = -100.0

    found = measured(moment("cell=rnn", "activation=relu", prepare=off))
    assert (found["activation.dead"] >= 0.4).all()
    torch.testing.assert_close(found["activation.saturated"], 1 - found["activation.derivative"])
    found = measured(moment("cell=rnn", "activation=identity"))
    assert (found["activation.derivative_at_step"] == 1).all()
    assert (found["activation.saturated"] == 0).all()
    assert (found["activation.dead"] == 0).all()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def slopes_by_numpy(taken):
    """Of an LSTM with tanh: slopes (R, T, B, H) by name; NaN where an example has no such step."""
    cell, batch = taken.model.cell, taken.batch
    T, R, B, _ = batch.input.shape
    names = ("candidate_activation", "output_activation", "input", "forget", "output")
    result = {name: np.full((R, T, B, cell.hidden), np.nan) for name in names}
    U, W, bias = (p.detach().numpy() for p in (cell.weight_input, cell.weight_recurrent, cell.bias))
    for r in range(R):
        for b in range(B):
            h = c = np.zeros(cell.hidden)
            for t in range(T):
                if not batch.mask[t, r, b]:
                    continue
                a_i, a_f, a_o, a_g = np.split(batch.input[t, r, b].numpy() @ U[r] + h @ W[r] + bias[r, 0], 4)
                i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), np.tanh(a_g)
                c = f * c + i * g
                h = o * np.tanh(c)
                values = (1 - g * g, 1 - np.tanh(c) ** 2, i * (1 - i), f * (1 - f), o * (1 - o))
                for name, value in zip(names, values, strict=True):
                    result[name][r, t, b] = value
    return result


@pytest.mark.parametrize("threshold", [0.05, 0.2])
def test_an_lstm_agrees_with_numpy_and_absent_steps_do_not_count(threshold):
    taken = moment(
        "cell=lstm", "task.shortest=4", "initialiser=xavier", "initialiser.gain=12", "bias_initialiser=uniform"
    )
    found, slopes = measured(taken, saturated=threshold), slopes_by_numpy(taken)
    assert {name.split(".")[0] for name in found} == set(slopes)
    for name, slope in slopes.items():
        saturated = np.where(np.isnan(slope), np.nan, slope < threshold)
        for key, value in {"derivative": slope, "saturated": saturated}.items():
            np.testing.assert_allclose(found[f"{name}.{key}"], np.nanmean(value, axis=(1, 2, 3)), rtol=1e-9)
            at_step = torch.from_numpy(value).nanmean((2, 3)).numpy()  # NaN where no example has the step
            np.testing.assert_allclose(found[f"{name}.{key}_at_step"], at_step, rtol=1e-9)
    assert found["candidate_activation.saturated"].min() > 0
    assert found["candidate_activation.saturated"].max() < 1


def test_the_moment_s_model_is_left_without_hooks():
    taken = moment()
    measured(taken)
    assert not any(module._forward_pre_hooks for module in taken.model.modules())
    assert all(parameter.requires_grad for parameter in taken.model.parameters())
