"""The weights probe against NumPy, and on weights whose figures are known."""

import numpy as np
import pytest
import torch
from moments import moment, small_experiment
from support import component


def measured(*overrides, prepare=None, steps=1):
    return component("probe", "weights").measure(moment(*overrides, prepare=prepare, steps=steps))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_agrees_with_numpy(cell):
    setting = (f"cell={cell}", "initialiser=xavier")
    taken = moment(*setting, steps=3)
    found = component("probe", "weights").measure(taken)
    now, begun = taken.model.cell, small_experiment(*setting).model(taken.seeds).cell
    for name in now.blocks:
        for r in range(2):
            W, W0 = (c.block(c.weight_recurrent, name)[r].detach().numpy() for c in (now, begun))
            np.testing.assert_allclose(found[f"{name}.singular_values"][r], np.linalg.svd(W)[1], rtol=1e-9)
            radius = np.abs(np.linalg.eigvals(W)).max()
            np.testing.assert_allclose(found[f"{name}.spectral_radius"][r], radius, rtol=1e-9)
            distance = np.linalg.norm(W.T @ W - np.eye(5)) / np.sqrt(5)
            np.testing.assert_allclose(found[f"{name}.distance_from_orthogonal"][r], distance, rtol=1e-9)
            drift = np.linalg.norm(W - W0) / np.linalg.norm(W0)
            np.testing.assert_allclose(found[f"{name}.drift"][r], drift, rtol=1e-9)
            assert drift > 0


def test_an_orthogonal_start():
    found = measured("cell=lstm", "initialiser=orthogonal")
    for name in ("input", "forget", "output", "candidate"):
        torch.testing.assert_close(found[f"{name}.singular_values"], torch.ones(2, 5, dtype=torch.float64))
        torch.testing.assert_close(found[f"{name}.spectral_radius"], torch.ones(2, dtype=torch.float64))
        assert (found[f"{name}.distance_from_orthogonal"] < 1e-12).all()
        assert (found[f"{name}.drift"] == 0).all()


def test_known_matrices():
    def prepare(model):
        with torch.no_grad():
            model.cell.weight_recurrent.zero_()
            model.cell.weight_recurrent[0].diagonal().copy_(torch.tensor([3.0, -4.0, 0.5, 0.0, 1.0]))

    found = measured("cell=rnn", prepare=prepare)
    assert found["hidden.singular_values"][0].tolist() == [4.0, 3.0, 1.0, 0.5, 0.0]
    assert found["hidden.spectral_radius"].tolist() == [4.0, 0.0]
    assert found["hidden.distance_from_orthogonal"][1].item() == pytest.approx(1.0)
