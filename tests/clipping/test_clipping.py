"""Clipping of parameter gradients: the bound holds, below it nothing changes, twice is once, per replica."""

import pytest
import torch
from support import DTYPES, component, options, uniform
from torch import Tensor

from rnnlab.training.loop import gradient_norm

R, BOUND = 4, 0.5
SHAPES = [(3, 5), (1, 7), (2, 2)]


def gradients(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Replica 0 far above any bound, 1 and 2 around it, 3 far below."""
    sizes = torch.tensor([1e3, 1.0, 0.1, 1e-6], dtype=dtype).view(R, 1, 1)
    return [uniform(R, *shape, seed=k, dtype=dtype) * sizes for k, shape in enumerate(SHAPES)]


def clip(option: str, given: list[Tensor], bound: float = BOUND) -> tuple[list[Tensor], Tensor]:
    """(clipped gradients, which replicas were clipped); what is given stays."""
    hyper = {"norm": {"max_norm": bound}, "value": {"max_value": bound}}.get(option, {})
    result = [g.clone() for g in given]
    clipped = component("clipping", option, **hyper)(result, gradient_norm(result))
    return result, clipped


def size(option: str, given: list[Tensor]) -> Tensor:
    """What the option bounds, per replica."""
    if option == "norm":
        return gradient_norm(given)
    return torch.stack([g.abs().flatten(1).amax(1) for g in given]).amax(0).double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", ["norm", "value"])
def test_the_bound_holds_and_below_it_nothing_changes(option: str, dtype: torch.dtype) -> None:
    given = gradients(dtype)
    result, clipped = clip(option, given)
    slack = 4 * torch.finfo(dtype).eps
    assert (size(option, result) <= BOUND * (1 + slack)).all()
    assert clipped.tolist() == (size(option, given) > BOUND).tolist() == [True, True, False, False]
    for before, after in zip(given, result, strict=True):
        assert torch.equal(before[~clipped], after[~clipped])
        assert after.dtype == dtype
    torch.testing.assert_close(size(option, result)[clipped], torch.full((2,), BOUND).double(), rtol=slack, atol=0)


@pytest.mark.parametrize("option", ["norm", "value"])
def test_twice_is_once(option: str) -> None:
    once, _ = clip(option, gradients())
    twice, _ = clip(option, once)
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-15, atol=0)


def test_norm_keeps_the_direction_over_all_parameters() -> None:
    given = gradients()
    result, _ = clip("norm", given)
    ratios = torch.cat([(after / before).flatten(1) for before, after in zip(given, result, strict=True)], dim=1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))


def test_value_changes_only_the_components_above_it() -> None:
    given = gradients()
    for before, after in zip(given, clip("value", given)[0], strict=True):
        assert torch.equal(after, before.clamp(-BOUND, BOUND))


@pytest.mark.parametrize("option", options("clipping"))
def test_a_replica_is_clipped_as_it_would_be_alone(option: str) -> None:
    given = gradients(torch.float32)
    together, clipped = clip(option, given)
    for r in range(R):
        alone, was = clip(option, [g[r : r + 1] for g in given])
        assert was.tolist() == [clipped[r]]
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a[r : r + 1], b)


@pytest.mark.parametrize("option", options("clipping"))
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_replica_that_blows_up_does_not_touch_the_others(option: str, wrong: float) -> None:
    given = gradients()
    expected, _ = clip(option, given)
    given[0][0, 0, 0] = wrong
    result, clipped = clip(option, given)
    assert clipped.dtype == torch.bool
    assert clipped.shape == (R,)
    for a, b in zip(expected, result, strict=True):
        assert torch.equal(a[1:], b[1:])


@pytest.mark.parametrize("option", options("clipping"))
def test_a_gradient_of_zero_stays_zero(option: str) -> None:
    result, clipped = clip(option, [torch.zeros(R, *shape) for shape in SHAPES])
    assert not clipped.any()
    assert all((g == 0).all() for g in result)


def test_none_leaves_everything() -> None:
    given = gradients()
    result, clipped = clip("none", given)
    assert not clipped.any()
    assert all(torch.equal(a, b) for a, b in zip(given, result, strict=True))


def test_norm_agrees_with_torch() -> None:
    given = gradients()
    result, _ = clip("norm", given)
    for r in range(R):
        parameters = [torch.nn.Parameter(g[r].clone()) for g in given]
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = gradient[r].clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, BOUND)
        torch.testing.assert_close(norm, gradient_norm(given)[r])
        for parameter, mine in zip(parameters, result, strict=True):
            torch.testing.assert_close(parameter.grad, mine[r], rtol=1e-5, atol=0)  # torch adds 1e-6 to the norm
