"""The figures that sum up a sequence of adjoint norms, on sequences whose figures are known."""

import itertools
import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import linregress

from rnnlab.runs.adjoints import LIVE, Summary, summarise


@pytest.mark.parametrize("slope", [0.25, -0.1, 1e-3])
def test_an_exponential_gives_its_slope_and_no_error(slope):
    found = summarise(3.0 * 10 ** (slope * np.arange(40)), 0.0)
    assert found.slope == pytest.approx(slope, rel=1e-12)
    assert found.slope_error < 1e-14
    assert found.e_folding == pytest.approx(1 / (slope * math.log(10)), rel=1e-12)
    assert found.ratio == pytest.approx(10 ** (-39 * slope))


def test_a_flat_sequence_never_falls_by_a_factor_e():
    found = summarise(np.full(7, 0.5), 0.0)
    assert (found.slope, found.slope_error, found.e_folding, found.ratio) == (0, 0, math.inf, 1)


def test_the_error_is_that_of_a_linear_regression():
    rng = np.random.default_rng(0)
    norm_T = 10 ** (0.02 * np.arange(50) + rng.normal(size=50))
    norm_T[[0, 7, 30]] = 0, np.inf, np.nan
    fitted = [t for t in range(50) if t not in (0, 7, 30)]
    expected = linregress(fitted, np.log10(norm_T[fitted]))
    found = summarise(norm_T, 0.0)
    assert (found.slope, found.slope_error) == pytest.approx((expected.slope, expected.stderr), rel=1e-10)
    assert found.e_folding == pytest.approx(1 / (expected.slope * math.log(10)))


def test_live_steps_are_those_at_the_threshold_and_above_among_those_that_are_there():
    found = summarise(np.array([np.nan, np.nan, 0.0, LIVE / 2, LIVE, 0.0, 1.0, np.inf]), 0.0)
    assert (found.first_live, found.live) == (4, 0.5)
    assert math.isnan(found.ratio)


@pytest.mark.parametrize(
    ("norms", "live"), [([math.nan] * 3, math.nan), ([], math.nan), ([0.0] * 3, 0), ([math.inf] * 3, 1)]
)
def test_what_does_not_exist_is_nan(norms, live):
    found = summarise(np.array(norms), 0.0)
    expected = Summary(live=live, first_live=0 if live == 1 else math.nan)
    assert astuple(found) == pytest.approx(astuple(expected), nan_ok=True)
    assert math.isnan(found.e_folding)


def test_two_points_have_a_slope_and_no_error_to_tell():
    found = summarise(np.array([1.0, 10.0]), 0.0)
    assert found.slope == pytest.approx(1)
    assert math.isnan(found.slope_error)


def test_norms_as_far_apart_as_numbers_get():
    found = summarise(np.array([1e300, 1.0, 1e-300]), 0.0)
    assert (found.slope, found.ratio) == (pytest.approx(-300), math.inf)


def test_norms_that_rounding_holds_at_the_smallest_numbers_are_not_fitted():
    """A factor of 0.75 per step back, in float32, whose smallest number times 0.75 is rounded to itself."""
    backward = list(itertools.accumulate(range(999), lambda norm, _: np.float32(0.75) * norm, initial=np.float32(1)))
    norm_T = np.array(backward[::-1], dtype=np.float64)
    assert norm_T[0] == norm_T[200] > 0
    found = summarise(norm_T, float(np.finfo(np.float32).tiny))
    assert found.slope == pytest.approx(-math.log10(0.75), rel=1e-5)
    assert summarise(norm_T, 0.0).slope < 0.6 * found.slope
