"""What each initialiser draws."""

import math

import pytest
import torch
from support import component
from torch import Tensor, nn

from rnnlab.streams import generator


def drawn(group: str, option: str, *shape: int, **changes: object) -> Tensor:
    tensor = torch.full(shape, 7.0, dtype=torch.float64)
    with torch.no_grad():
        component(group, option, {"units": 30, "steps": 20}, **changes)(tensor, generator(0, "init"))
    return tensor


SCALE_LAWS = {
    ("xavier", "uniform"): lambda out, fan_in: math.sqrt(2 / (out + fan_in)),
    ("xavier", "normal"): lambda out, fan_in: math.sqrt(2 / (out + fan_in)),
    ("kaiming", "uniform"): lambda out, fan_in: math.sqrt(1 / fan_in),
    ("kaiming", "normal"): lambda out, fan_in: math.sqrt(1 / fan_in),
}


@pytest.mark.technique("initialiser=xavier", "initialiser=kaiming")
@pytest.mark.parametrize(("option", "distribution"), SCALE_LAWS)
def test_a_scaled_initialiser_has_its_deviation_and_distribution(option: str, distribution: str) -> None:
    out, fan_in, gain = 200, 50, 1.7
    weight = drawn("initialiser", option, out, fan_in, distribution=distribution, gain=gain)
    deviation = gain * SCALE_LAWS[option, distribution](out, fan_in)
    assert weight.mean().item() == pytest.approx(0, abs=0.05 * deviation)
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)
    furthest = weight.abs().max().item() / deviation
    assert (furthest <= math.sqrt(3)) == (distribution == "uniform"), "a uniform draw ends at sqrt(3) deviations"


@pytest.mark.technique("initialiser=orthogonal")
def test_orthogonal_weights_have_every_singular_value_equal_to_the_gain() -> None:
    for shape in ((30, 30), (30, 7), (7, 30)):
        values = torch.linalg.svdvals(drawn("initialiser", "orthogonal", *shape, gain=0.8))
        torch.testing.assert_close(values, torch.full_like(values, 0.8))


@pytest.mark.technique("initialiser=identity")
def test_identity_is_scale_times_the_identity() -> None:
    weight = drawn("initialiser", "identity", 30, 30, scale=-0.4)
    assert torch.equal(weight, -0.4 * torch.eye(30, dtype=torch.float64))


@pytest.mark.technique("initialiser=cayley")
@pytest.mark.parametrize("size", [30, 31])
def test_cayley_weights_turn_pairs_of_units_by_at_most_the_spread(size: int) -> None:
    weight = drawn("initialiser", "cayley", size, size, spread=0.25)
    torch.testing.assert_close(weight @ weight.T, torch.eye(size, dtype=torch.float64))
    pairs = torch.eye(size // 2, dtype=torch.bool).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert (weight[: len(pairs), : len(pairs)][~pairs] == 0).all()
    angle = torch.linalg.eigvals(weight).angle().abs() / math.pi
    assert angle.max() <= 0.25
    assert angle.max() > 0.2
    assert (angle == 0).sum() == size % 2, "a last odd unit keeps its value"
    turned = drawn("initialiser", "cayley", size, size, spread=0.25, negative=0.5)
    sign = (turned / weight)[range(size), range(size)]
    assert sign.tolist() == [1.0] * (size - round(size / 2)) + [-1.0] * round(size / 2)
    torch.testing.assert_close(turned, weight * sign)


@pytest.mark.technique("initialiser=cayley")
def test_the_angles_of_cayley_weights_are_uniform() -> None:
    weight = drawn("initialiser", "cayley", 1000, 1000)
    angle = torch.acos(weight.diagonal()[::2]) / (math.pi / 2)  # the default spread is half of pi
    assert (angle.sort().values - torch.linspace(0, 1, len(angle))).abs().max() < 0.07


@pytest.mark.technique("initialiser=nearly_identity")
def test_nearly_identity_is_positive_definite_with_largest_eigenvalue_one() -> None:
    weight = drawn("initialiser", "nearly_identity", 200, 200)
    torch.testing.assert_close(weight, weight.T)
    values = torch.linalg.eigvalsh(weight)
    assert values[-1].item() == pytest.approx(1, rel=1e-12)
    # G^T G / H has its eigenvalues in [0, 4] (Marchenko & Pastur), so (I + A) / e in [1/5, 1], the mean at 2/5.
    assert values[0].item() == pytest.approx(1 / 5, rel=0.05)
    assert values.mean().item() == pytest.approx(2 / 5, rel=0.05)


@pytest.mark.technique("initialiser=spectral_radius")
@pytest.mark.parametrize("nonzeros", [None, 1, 15, 30])
def test_spectral_radius_is_what_was_asked_for(nonzeros: int | None) -> None:
    weight = drawn("initialiser", "spectral_radius", 30, 30, radius=0.7, nonzeros=nonzeros)
    assert torch.linalg.eigvals(weight).abs().max().item() == pytest.approx(0.7, rel=1e-9)
    assert ((weight != 0).sum(0) == (nonzeros or 30)).all()


@pytest.mark.technique("initialiser=unit_rows")
@pytest.mark.parametrize("shape", [(30, 30), (30, 2), (2, 30)])
def test_unit_rows_have_one_length(shape: tuple[int, int]) -> None:
    weight = drawn("initialiser", "unit_rows", *shape, norm=1.3)
    torch.testing.assert_close(weight.norm(dim=1), torch.full((shape[0],), 1.3, dtype=torch.float64))


@pytest.mark.technique("initialiser=uniform", "bias_initialiser=uniform")
@pytest.mark.parametrize(("group", "shape"), [("initialiser", (200, 50)), ("bias_initialiser", (5000,))])
def test_uniform_is_what_torch_nn_draws(group: str, shape: tuple[int, ...]) -> None:
    values, bound = drawn(group, "uniform", *shape), 1 / math.sqrt(30)
    assert 0.99 * bound < values.abs().max().item() <= bound
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    module = nn.LSTM(2, 30)
    assert max(p.abs().max().item() for p in module.parameters()) == pytest.approx(bound, rel=0.02)


@pytest.mark.technique("initialiser=henaff")
def test_henaff_rotates_pairs_of_units_by_less_than_its_spread() -> None:
    weight = drawn("initialiser", "henaff", 7, 7, spread=0.25)
    assert torch.equal(weight[6], torch.eye(7, dtype=torch.float64)[6]), "a last odd unit keeps its value"
    blocks = [weight[i : i + 2, i : i + 2] for i in (0, 2, 4)]
    torch.testing.assert_close(torch.block_diag(*blocks), weight[:6, :6], rtol=0, atol=0)
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(2, dtype=torch.float64))
        assert torch.linalg.det(block) > 0
        assert abs(math.atan2(block[1, 0], block[0, 0])) < 0.25 * math.pi


@pytest.mark.technique("bias_initialiser=zeros")
def test_zeros_are_zero() -> None:
    assert not drawn("bias_initialiser", "zeros", 5).any()
