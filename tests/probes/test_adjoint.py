"""The adjoint probe against finite differences and NumPy, with steps that examples do not have."""

import dataclasses

import numpy as np
import pytest
import torch
from moments import moment
from support import component

from rnnlab.bptt.passage import batch_mean
from rnnlab.runs.adjoints import summarise


def measure(taken, **changes):
    (recorded,) = taken.adjoints
    changed = dataclasses.replace(taken, adjoints=[dataclasses.replace(recorded, **changes)])
    return component("probe", "adjoint").measure(changed)


def loss_from(taken, t, state):
    """(R, B): each example's loss when the net goes on from this state of step t - 1."""
    model, batch = taken.model, taken.batch
    for input_RBI in batch.input[t:]:
        output, state = model.cell.step(input_RBI, state)
    return taken.task.losses(model.readout(output.unsqueeze(0)), batch)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_mean_is_that_of_finite_differences(cell):
    taken, t, small = moment(f"cell={cell}", "initialiser=xavier"), 4, 1e-6
    state = taken.model.cell.zero_state(taken.batch.input[0])
    derivative_RBH = torch.empty_like(state[0])
    with torch.no_grad():
        for input_RBI in taken.batch.input[: t + 1]:
            _, state = taken.model.cell.step(input_RBI, state)
        for unit in range(5):
            step = small * torch.eye(5, dtype=torch.float64)[unit]
            ends = [loss_from(taken, t + 1, (state[0] + sign * step, *state[1:])) for sign in (1, -1)]
            derivative_RBH[..., unit] = (ends[0] - ends[1]) / (2 * small)
    torch.testing.assert_close(measure(taken)["h.mean"][:, t], derivative_RBH.norm(dim=-1).mean(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shortest", ["null", "3"])
def test_curves_and_figures_agree_with_numpy(shortest):
    taken = moment("cell=lstm", f"task.shortest={shortest}", "task.batch=7", steps=2)
    found = measure(taken)
    for s, state in enumerate(("h", "c")):
        for r in range(2):
            columns = taken.adjoints[0].norm_STRB[s, :, r].numpy()
            mask = np.ones((9, 7), bool) if taken.batch.mask is None else taken.batch.mask[:, r].numpy()
            for t, (norm_B, mask_B) in enumerate(zip(columns, mask, strict=True)):
                there = norm_B[mask_B] if mask_B.any() else np.array([np.nan])
                assert found[f"{state}.mean"][r, t] == pytest.approx(there.mean(), nan_ok=True)
                for name, level in (("quantile_10", 0.1), ("median", 0.5), ("quantile_90", 0.9)):
                    expected = np.quantile(there, level, method="nearest")
                    assert found[f"{state}.{name}"][r, t] == pytest.approx(expected, nan_ok=True)
            summary = summarise(found[f"{state}.mean"][r].numpy(), torch.finfo(torch.float64).tiny)
            for name in ("slope", "slope_error", "e_folding", "first_live", "live"):
                assert found[f"{state}.{name}"][r] == pytest.approx(getattr(summary, name), nan_ok=True)


def test_the_mean_is_what_the_run_s_record_has():
    taken = moment("cell=lstm", "task.shortest=3")
    recorded = batch_mean(taken.adjoints[0].norm_STRB, taken.batch.mask)
    found = measure(taken)
    for s, state in enumerate(("h", "c")):
        torch.testing.assert_close(found[f"{state}.mean"], recorded[:, s], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_zeros_infinite_norms_and_none_at_all(value):
    taken = moment("cell=rnn")
    found = measure(taken, norm_STRB=torch.full_like(taken.adjoints[0].norm_STRB, value))
    expected = torch.full((2, 9), value, dtype=torch.float64)
    for name in ("mean", "quantile_10", "median", "quantile_90"):
        torch.testing.assert_close(found[f"h.{name}"], expected, equal_nan=True)
    for name in ("slope", "slope_error", "e_folding"):
        assert found[f"h.{name}"].isnan().all()


def test_one_infinite_example_leaves_the_median_alone():
    taken = moment("cell=rnn", "task.batch=5")
    norm = torch.arange(1.0, 6.0, dtype=torch.float64).expand(1, 9, 2, 5).clone()
    norm[..., 4] = torch.inf
    found = measure(taken, norm_STRB=norm)
    assert (found["h.median"] == 3).all()
    assert (found["h.quantile_90"] == torch.inf).all()
