"""Pictures of the adjoint norms: what they show, and that they leave no state behind."""

import sys

import numpy as np
import pytest

from rnnlab.sinks import figures

STEP = [1, 20, 40, 60]


def norms(replicas: int = 3, steps: int = 12) -> np.ndarray:
    """(P, R, T): between 1e-9 and 1e-1."""
    return 10 ** np.random.default_rng(5).uniform(-9, -1, (len(STEP), replicas, steps))


def draw_map(median_PT: np.ndarray, step: list[int] = STEP):
    return figures.heat_map(step, median_PT, state="h", unit="squared error", seeds=3)


def medians(norms_PRT: np.ndarray) -> np.ndarray:
    return np.stack([figures.median_over_seeds(norm_RT) for norm_RT in norms_PRT])


@pytest.mark.parametrize("replicas", [1, 2, 3, 6])
def test_median_is_that_of_the_seeds_that_have_a_value(replicas):
    norm_RST = np.random.default_rng(replicas).uniform(size=(replicas, 2, 7))
    np.testing.assert_array_equal(figures.median_over_seeds(norm_RST), np.median(norm_RST, axis=0))
    ended = np.concatenate([norm_RST[:1] * np.nan, norm_RST])
    np.testing.assert_array_equal(figures.median_over_seeds(ended), np.median(norm_RST, axis=0))
    assert np.isnan(figures.median_over_seeds(norm_RST * np.nan)).all()


def test_heat_map_shows_log10_of_the_median_with_t_upwards():
    norms_PRT = norms()
    (picture,) = draw_map(medians(norms_PRT)).axes[0].images
    np.testing.assert_allclose(np.asarray(picture.get_array()), np.log10(np.median(norms_PRT, axis=1)).T)


def test_axes_and_colour_bar_say_what_they_are():
    axes, bar = draw_map(medians(norms())).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", "time step t")
    assert "log" in bar.get_ylabel()
    assert "squared error" in bar.get_ylabel()
    assert "3 seeds" in axes.get_title()
    axes = figures.curves(STEP, list(norms()), state="c", unit="nats").axes[0]
    assert axes.get_xlabel() == "time step t"
    assert "∂cₜ" in axes.get_ylabel()
    assert "nats" in axes.get_ylabel()


@pytest.mark.parametrize(
    ("exponents", "limits"),
    [([-0.1], (-4, 0)), ([-5, 0.5], (-8, 2)), ([-300, 300], (-24, 8)), ([3], (-4, 4)), ([], (-4, 0))],
)
def test_scale_holds_the_values_in_whole_decades(exponents, limits):
    values = np.array([*exponents, np.nan, figures.BEYOND, -figures.BEYOND], dtype=float)
    assert figures.scale(values) == limits


@pytest.mark.parametrize("values", [(0.0, np.nan, np.inf, 1e-300), (0.0,), (np.nan,), (np.inf,)])
def test_any_norm_can_be_drawn(values):
    norms_PRT = norms()
    norms_PRT[1:, :, 2:] = np.resize(values, norms_PRT[1:, :, 2:].shape)
    for figure in (
        draw_map(medians(norms_PRT)),
        figures.curves(STEP, list(norms_PRT), state="h", unit="squared error"),
    ):
        assert figures.pixels(figure).shape[2] == 3


def test_zero_is_black_and_no_value_is_grey():
    median_PT = np.full((2, 2), 0.1)
    median_PT[0, 0], median_PT[1, 1] = 0.0, np.nan
    (picture,) = draw_map(median_PT, step=[1, 2]).axes[0].images
    colour = picture.to_rgba(picture.get_array())  # (T, P, 4)
    np.testing.assert_allclose(colour[0, 0], (0, 0, 0, 1), atol=0.01)
    np.testing.assert_allclose(colour[1, 1], (0.8, 0.8, 0.8, 1), atol=0.01)


@pytest.mark.parametrize("step", [[1], [1, 20], STEP])
def test_few_probed_steps_are_enough(step):
    some = norms()[: len(step)]
    assert figures.pixels(draw_map(medians(some), step)).any()
    assert figures.pixels(figures.curves(step, list(some), state="h", unit="nats")).any()


def test_curves_are_of_the_first_and_the_last_step_with_a_band_over_seeds():
    axes = figures.curves(STEP, list(norms()), state="h", unit="nats").axes[0]
    assert [line.get_label() for line in axes.lines] == ["1", "20", "40", "60"]
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), np.log10(np.median(norms()[-1], axis=0)))
    assert len(axes.collections) == len(STEP)
    alone = figures.curves(STEP, list(norms(replicas=1)), state="h", unit="nats").axes[0]
    assert len(alone.collections) == 0
    assert [figures.chosen(n) for n in (1, 2, 5, 101)] == [[0], [0, 1], [0, 1, 2, 3, 4], [0, 25, 50, 75, 100]]


def test_no_figure_stays_with_pyplot():
    figures.pixels(draw_map(medians(norms())))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
