"""The lyapunov probe where theory has the answer, against determinants, and against the adjoint it predicts."""

import math

import numpy as np
import pytest
import torch
from moments import moment
from support import component, right_aligned_mask

from rnnlab.probes.lyapunov import _steps_that_count, kaplan_yorke
from rnnlab.probes.trajectory import Trajectory

LINEAR = ("cell=rnn", "activation=identity")


def probe(**changes):
    return component("probe", "lyapunov", **changes)


def recurrent(*matrices, inputs=1.0):
    """Sets the recurrent weights, one matrix per replica, and scales the input weights."""

    def prepare(model):
        with torch.no_grad():
            model.cell.weight_input.mul_(inputs)
            for r, W in enumerate(matrices):
                model.cell.weight_recurrent[r] = torch.as_tensor(W, dtype=torch.float64)

    return prepare


def gaussian(hidden, gain, seed):
    return np.random.default_rng(seed).normal(0, gain / math.sqrt(hidden), (hidden, hidden))


def test_a_linear_net_has_the_logarithms_of_its_eigenvalues():
    moduli = np.array([1.1, 0.9, 0.7, 0.5, 0.3])
    basis = gaussian(5, 1.0, 1)
    skewed = basis @ np.diag(moduli) @ np.linalg.inv(basis)
    triangular = np.diag(moduli[[3, 0, 4, 2, 1]]) + np.triu(np.full((5, 5), 0.2), 1)
    found = probe(exponents=5).measure(moment(*LINEAR, "task.length=200", prepare=recurrent(skewed, triangular)))
    for r in range(2):
        np.testing.assert_allclose(found["exponents"][r], np.log(moduli), atol=1e-5)
        np.testing.assert_allclose(found["exponents_decades"][r], np.log10(moduli), atol=1e-5)
        np.testing.assert_allclose(found["standard_error"][r], 0, atol=1e-5)
    assert found["largest"].tolist() == found["exponents"][:, 0].tolist()
    expected = 1 + math.log(1.1) / -math.log(0.9)
    # 0.9 eats nearly all that 1.1 makes: l_1 + l_2 < 0
    assert found["kaplan_yorke"].tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_an_orthogonal_linear_net_neither_grows_nor_fades():
    found = probe(exponents=3).measure(moment(*LINEAR, "initialiser=orthogonal", "task.length=60"))
    for name in ("exponents", "standard_error", "slope_predicted", "h.slope_measured"):
        assert found[name].abs().max() < 1e-12, name


@pytest.mark.parametrize("setting", [["cell=rnn"], ["cell=lstm"], ["cell=gru", "task.shortest=4", "task.batch=7"]])
def test_all_exponents_add_up_to_the_volume(setting):
    taken = moment(*setting)
    found = probe(exponents=99, examples=99, warm_up=0.0).measure(taken)
    trajectory = Trajectory(taken, taken.calls[0], 99)
    log_volume = torch.stack([torch.linalg.slogdet(trajectory.jacobian(t))[1] for t in range(len(taken.batch.input))])
    expected = (log_volume.sum(0) / trajectory.live_TRB.sum(0)).mean(-1)  # log 1 where an example has no step
    torch.testing.assert_close(found["exponents"].sum(1), expected)
    assert taken.batch.mask is None or not taken.batch.mask.all()


def test_the_first_exponents_lie_within_the_singular_values_of_the_jacobian_probe_s_product():
    taken = moment("cell=lstm")
    D, T = 10, len(taken.batch.input)
    product = component("probe", "jacobian", examples=1, times=1).measure(taken)  # of the steps 1 to T-1
    first = torch.linalg.svdvals(Trajectory(taken, taken.calls[0], 1).jacobian(0)).log()[:, 0]
    ends = {name: product[f"product.log10_{name}"][:, 0, 0] * math.log(10) for name in ("largest", "smallest")}
    found = probe(exponents=D, examples=1, warm_up=0.0).measure(taken)["exponents"] * T
    assert (found[:, 0] <= ends["largest"] + first[:, 0]).all()
    assert (found[:, -1] >= ends["smallest"] + first[:, -1]).all()
    volume = product["product.log10_geometric_mean"][:, 0, 0] * math.log(10) * D + first.sum(1)
    torch.testing.assert_close(found.sum(1), volume)


def test_steps_that_an_example_does_not_have_do_not_count():
    """The exponents of examples of different lengths are those of each alone, cut to its length."""
    moduli = [0.5, 0.25, 0.125, 0.1, 0.05]
    taken = moment(*LINEAR, "task.length=30", "task.shortest=3", prepare=recurrent(np.diag(moduli), np.diag(moduli)))
    assert taken.batch.mask is not None
    found = probe(exponents=5, examples=4, warm_up=0.0).measure(taken)
    torch.testing.assert_close(found["exponents"].sum(1), torch.tensor(moduli).double().log().sum().expand(2))


@pytest.mark.parametrize("warm_up", [0.0, 0.4, 0.9])
def test_a_warm_up_leaves_out_both_ends_of_an_example_s_own_steps(warm_up):
    live_TRB = right_aligned_mask(23, 2, 5)
    counts_TRB, blocks = _steps_that_count(live_TRB, warm_up, blocks=3)
    assert torch.equal(torch.stack(blocks).sum(0), counts_TRB.long()), "a step is in one block"
    for live_T, counts_T, *blocks_T in zip(*(x.flatten(1).T for x in (live_TRB, counts_TRB, *blocks)), strict=True):
        own, kept = live_T.nonzero().flatten(), counts_T.nonzero().flatten()
        skipped = int(warm_up / 2 * len(own))
        assert torch.equal(kept, own[skipped : len(own) - skipped])
        sizes = [int(block_T.sum()) for block_T in blocks_T]
        assert max(sizes) - min(sizes) <= 1
        assert torch.equal(torch.cat([block_T.nonzero().flatten() for block_T in blocks_T]), kept)


@pytest.mark.parametrize("gain", [1.0, 0.9, 1.1])
@pytest.mark.parametrize("setting", [[], ["task.shortest=20"]], ids=["even", "uneven"])
def test_predicted_against_measured_for_scaled_rotations(setting, gain):
    """Theory: the adjoint goes as gain^(T-t), a slope of -log10 gain."""
    W = gain * np.linalg.qr(gaussian(5, 1.0, 2))[0]
    found = probe().measure(moment(*LINEAR, "task.length=60", *setting, prepare=recurrent(W, W)))
    for name in ("slope_predicted", "h.slope_measured"):
        np.testing.assert_allclose(found[name], -math.log10(gain), atol=1e-12, err_msg=name)


def test_predicted_against_measured_for_tanh_nets_near_zero():
    """Theory: with weak inputs tanh is linear, so the spectral radius of W sets the slope."""
    weights = [gaussian(12, 0.5, seed) for seed in (1, 2)]
    found = probe().measure(
        moment("cell=rnn", "cell.hidden=12", "task.length=300", prepare=recurrent(*weights, inputs=1e-3))
    )
    for r, W in enumerate(weights):
        expected = -math.log10(np.abs(np.linalg.eigvals(W)).max())
        error = 3 * found["slope_standard_error"][r].item() + 1e-3
        assert found["slope_predicted"][r].item() == pytest.approx(expected, abs=error)
        assert found["h.slope_measured"][r].item() == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("gain", [0.8, 1.2, 2.5])
def test_predicted_against_measured_for_random_tanh_nets(gain):
    weights = [gaussian(24, gain, seed) for seed in (3, 4)]
    taken = moment("cell=rnn", "cell.hidden=24", "task.length=200", "task.batch=8", prepare=recurrent(*weights))
    found = probe().measure(taken)
    difference = (found["slope_predicted"] - found["h.slope_measured"]).abs()
    assert (difference < 3 * found["slope_standard_error"] + 5e-4).all()


def test_predicted_against_measured_for_gated_cells():
    for cell in ("lstm", "gru"):
        found = probe().measure(moment(f"cell={cell}", "cell.hidden=12", "task.length=200", "initialiser=xavier"))
        for name in ("h.slope_measured", "c.slope_measured"):
            if name in found:
                difference = (found["slope_predicted"] - found[name]).abs()
                assert (difference < 3 * found["slope_standard_error"] + 5e-4).all()


def test_the_standard_error_falls_with_more_examples_and_covers_the_scatter():
    chaotic = recurrent(gaussian(24, 2.5, 3), gaussian(24, 2.5, 4))
    taken = moment("cell=rnn", "cell.hidden=24", "task.length=100", "task.batch=64", prepare=chaotic)
    few, many = probe(examples=4).measure(taken), probe(examples=64).measure(taken)
    assert (many["standard_error"][:, 0] < few["standard_error"][:, 0]).all()
    assert ((few["largest"] - many["largest"]).abs() < 4 * few["standard_error"][:, 0]).all()


def test_kaplan_yorke():
    def dimension(exponents, width):
        return kaplan_yorke(torch.tensor([exponents], dtype=torch.float64), width).item()

    assert dimension([-0.1, -0.2], 5) == 0
    assert dimension([0.0, -1.0], 5) == 1
    assert dimension([0.906, 0.0, -14.572], 3) == pytest.approx(2.062, abs=1e-3)  # Lorenz
    assert dimension([0.5, -math.inf], 2) == 1
    assert dimension([0.5, 0.1], 2) == 2
    assert math.isnan(dimension([0.5, 0.1], 3))
    assert math.isnan(dimension([math.nan, math.nan], 3))


def test_a_trajectory_that_overflows_leaves_its_neighbour_alone():
    def prepare(model):
        model.cell.weight_recurrent.detach()[1].fill_(1e60)

    setting = ("cell=rnn", "activation=relu", "initialiser=orthogonal")
    found, alone = probe().measure(moment(*setting, prepare=prepare)), probe().measure(moment(*setting))
    for name, value in found.items():
        np.testing.assert_array_equal(value[0], alone[name][0], err_msg=name)
    assert found["exponents"][1].isnan().all()
    assert found["kaplan_yorke"][1].isnan()
