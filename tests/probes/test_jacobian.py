"""The jacobian probe against autograd's Jacobians of whole maps, and on nets whose figures are known."""

import math

import numpy as np
import pytest
import torch
from moments import moment
from support import component, options

from rnnlab.bptt.unroll import unroll
from rnnlab.probes.trajectory import Trajectory


def probe(**changes):
    return component("probe", "jacobian", **changes)


def whole_map(taken, first, r, b):
    """d s_{T-1} / d s_{first-1} of one example, through `unroll`, (D, D)."""
    model, mask, x = taken.model, taken.batch.mask, taken.batch.input
    state = model.cell.zero_state(x[0])
    if first > 0:
        masked = None if mask is None else mask[:first]
        state = tuple(s.detach() for s in unroll(model.cell, x[:first], mask_TRB=masked).state)
    widths = [s.shape[-1] for s in state]

    def end(flat):
        begun = []
        for s, part in zip(state, flat.split(widths), strict=True):
            s = s.clone()
            s[r, b] = part
            begun.append(s)
        masked = None if mask is None else mask[first:]
        after = unroll(model.cell, x[first:], state=tuple(begun), mask_TRB=masked).state
        return torch.cat([s[r, b] for s in after])

    return torch.autograd.functional.jacobian(end, torch.cat([s[r, b] for s in state])).numpy()


@pytest.mark.parametrize("setting", [["cell=rnn"], ["cell=lstm"], ["cell=gru", "task.shortest=4"]])
def test_it_agrees_with_autograd(setting):
    taken = moment(*setting, steps=2)
    found = probe(examples=4, times=3).measure(taken)
    T, mask = len(taken.batch.input), taken.batch.mask
    assert found["time"].tolist() == [[1, round(T / 2), T - 1]] * 2
    for r, b, (p, t) in [(r, b, at) for r in range(2) for b in range(4) for at in enumerate(found["time"][0].tolist())]:
        if mask is not None and not mask[t, r, b]:
            assert all(found[name][r, b, p].isnan().all() for name in found if found[name].ndim > 2)
            continue
        singular = np.linalg.svd(whole_map(taken, t, r, b))[1]
        rounding = 1e-9 + 1e-15 * singular[0] / singular[-1]  # the oracle's own
        for name, expected in (("largest", singular[0]), ("smallest", singular[-1]), ("geometric_mean", singular)):
            ours = found[f"product.log10_{name}"][r, b, p].item()
            assert ours == pytest.approx(np.log10(expected).mean(), abs=rounding), name
    if mask is not None:
        assert not mask.all(), "some example must be shorter"
    live = found["singular_values"][:, :, -1]
    for r, b in [(r, b) for r in range(2) for b in range(4)]:
        step = whole_map(taken, T - 1, r, b)
        np.testing.assert_allclose(live[r, b], np.linalg.svd(step)[1], rtol=1e-9, atol=1e-12)
        radius = np.abs(np.linalg.eigvals(step)).max()
        assert found["spectral_radius"][r, b, -1].item() == pytest.approx(radius)


@pytest.mark.parametrize("activation", options("activation"))
def test_every_activation_serves(activation):
    found = probe(examples=1, times=1).measure(moment("cell=gru", f"activation={activation}"))
    assert found["singular_values"].isfinite().all()


def linear(*matrices):
    """Sets nets h <- h W, one W per replica. They stay at 0, so that no state overflows."""

    def prepare(model):
        with torch.no_grad():
            model.cell.weight_input.zero_()
            for r, W in enumerate(matrices):
                model.cell.weight_recurrent[r] = torch.as_tensor(W, dtype=torch.float64)

    return prepare


LINEAR = ("cell=rnn", "activation=identity", "task.length=400", "optimiser.lr=1e-300")


def test_products_far_outside_the_range_of_numbers():
    gains = np.array([1e-4, 10.0, 1e-2, 1.0, 1e3])
    triangular = np.diag(gains) + np.triu(np.full((5, 5), 0.1), 1)
    values, right = np.linalg.eig(triangular)
    # W^n -> lambda^n r l^T / (l r) for the largest eigenvalue, and so does its inverse for the smallest.
    skew = np.log10(np.linalg.norm(right, axis=0) * np.linalg.norm(np.linalg.inv(right), axis=1))
    found = probe(examples=1, times=2).measure(moment(*LINEAR, prepare=linear(np.diag(gains), triangular)))
    steps = 399
    for name, gain, sign in (("largest", 1e3, 1), ("smallest", 1e-4, -1)):
        decades, constant = steps * np.log10(gain), sign * skew[np.isclose(values, gain)].item()
        ours = found[f"product.log10_{name}"][:, 0, 0].numpy()
        np.testing.assert_allclose(ours, [decades, decades + constant], rtol=1e-9)
    geometric_mean = found["product.log10_geometric_mean"][:, 0, 0].numpy()
    np.testing.assert_allclose(geometric_mean, steps * np.log10(gains).mean(), rtol=1e-9)


def test_an_orthogonal_linear_net_is_an_isometry():
    found = probe(examples=2, times=4).measure(moment(*LINEAR, "initialiser=orthogonal"))
    ones = torch.ones_like(found["singular_values"])
    torch.testing.assert_close(found["singular_values"], ones)
    torch.testing.assert_close(found["spectral_radius"], ones[..., 0])
    for name in ("largest", "geometric_mean", "smallest"):
        assert found[f"product.log10_{name}"].abs().max() < 1e-12


def test_a_singular_step():
    found = probe(examples=1, times=2).measure(
        moment(*LINEAR, prepare=linear(np.diag([0, 0, 0, 0, 2.0]), np.zeros((5, 5))))
    )
    assert found["product.log10_largest"][0, 0, 0].item() == pytest.approx(399 * math.log10(2))
    assert (found["product.log10_largest"][1] == -math.inf).all()
    assert (found["product.log10_geometric_mean"][1] == -math.inf).all()
    assert (found["product.log10_smallest"][1] == -math.inf).all()
    assert found["median_spectral_radius"].tolist() == [2.0, 0.0]


def test_a_trajectory_that_overflows_leaves_its_neighbour_alone():
    def prepare(model):
        model.cell.weight_recurrent.detach()[1].fill_(1e60)

    setting = ("cell=rnn", "activation=relu", "initialiser=orthogonal")
    found = probe(examples=1, times=3).measure(moment(*setting, prepare=prepare))
    alone = probe(examples=1, times=3).measure(moment(*setting))
    for name, value in found.items():
        assert name == "time" or value[1].isnan().all()
        np.testing.assert_array_equal(value[0], alone[name][0], err_msg=name)


def test_measuring_leaves_the_moment_as_it_was():
    taken = moment("cell=lstm", "dtype=float32")
    before = {name: p.clone() for name, p in taken.model.named_parameters()}
    probe().measure(taken)
    for name, p in taken.model.named_parameters():
        assert p.dtype == torch.float32
        assert p.requires_grad
        assert torch.equal(p, before[name])


def test_pull_is_a_row_times_the_jacobian():
    taken = moment("cell=lstm")
    trajectory = Trajectory(taken, taken.calls[0], 3)
    rows = torch.randn(2, 3, 4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(trajectory.pull(5, rows), rows @ trajectory.jacobian(5))
