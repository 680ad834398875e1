"""Noise on gradients: its variance at every step, and a function of seed and step alone."""

import pytest
import torch
from helpers import only_run, rnnlab, weights
from support import DTYPES, component
from torch import Tensor


def noise(seeds: list[int], step: int, dtype: torch.dtype = torch.float64, **changes: float) -> list[Tensor]:
    """What is added to gradients of zero."""
    gradients = [torch.zeros(len(seeds), *shape, dtype=dtype) for shape in ((100, 300), (1, 300), (7, 3))]
    assert component("gradient_noise", "annealed", **changes)(gradients, seeds, step) is None
    return gradients


@pytest.mark.technique("gradient_noise=annealed")
@pytest.mark.parametrize(("step", "variance"), [(1, 0.3), (10, 0.3 / 10**0.55), (1000, 0.3 / 1000**0.55)])
def test_its_variance_falls_as_the_paper_has_it(step: int, variance: float) -> None:
    values = torch.cat([n.flatten() for n in noise([0, 1], step, eta=0.3)])
    assert values.var().item() == pytest.approx(variance, rel=0.02)
    assert values.mean().item() == pytest.approx(0, abs=4 * (variance / len(values)) ** 0.5)
    assert (values.abs() > variance**0.5).double().mean().item() == pytest.approx(0.3173, abs=0.005), "normal"


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_replica_s_noise_depends_on_seed_and_step_alone(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    together = noise([4, 1, 7], 3, dtype)
    for r, seed in enumerate((4, 1, 7)):
        for ours, alone in zip(together, noise([seed], 3, dtype), strict=True):
            assert torch.equal(ours[r], alone[0])
    assert torch.equal(before, torch.get_rng_state())
    first = torch.cat([n[0].flatten() for n in together])
    for other in (noise([1], 3, dtype), noise([4], 4, dtype)):
        share = torch.corrcoef(torch.stack([first, torch.cat([n.flatten() for n in other])]))[0, 1]
        assert abs(share.item()) < 0.03


def test_it_is_added_to_what_clipping_left(in_tmp_path) -> None:
    """With a bound so low that nothing but the noise is left, a step of gradient descent is the noise."""
    setting = ["seeds=[3]", "optimiser=sgd", "optimiser.lr=1", "clipping.max_norm=1e-12", "dtype=float64"]
    for steps, name in ((1, "one"), (2, "two")):
        assert (
            rnnlab(*setting, f"steps={steps}", "gradient_noise=annealed", "gradient_noise.eta=4", f"name={name}") == 0
        )
    one, two = (weights(only_run(name), 3) for name in ("one", "two"))
    gradients = [torch.zeros(1, *weight.shape, dtype=torch.float64) for weight in one.values()]
    component("gradient_noise", "annealed", eta=4.0)(gradients, [3], 2)
    for name, gradient in zip(one, gradients, strict=True):
        torch.testing.assert_close(two[name] - one[name], -gradient[0], rtol=1e-9, atol=1e-9)
