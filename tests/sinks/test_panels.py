"""Pictures of what probes measure: what they show, that anything can be drawn, and that each probe's names are met."""

import numpy as np
import pytest
from helpers import read_probes
from support import composed

from rnnlab.build import build
from rnnlab.schema import validate
from rnnlab.sinks import probe_figures
from rnnlab.sinks.figures import pixels
from rnnlab.sinks.panels import PICTURES, panels
from rnnlab.training.run import run

STEP = [1, 20, 40, 60]


def shares(*shape):
    return np.random.default_rng(3).uniform(0.2, 0.4, shape)


def spectra():
    """(P, D), falling."""
    return -np.sort(-np.random.default_rng(4).lognormal(size=(len(STEP), 9)))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_every_picture_of_a_real_run_can_be_drawn(in_tmp_path, cell):
    small = ("task=adding", "task.length=6", "task.batch=4", "cell.hidden=3", "evaluate.examples=4", "steps=2")
    config = validate(composed(*small, f"cell={cell}", "seeds=2", "probes=full", "tensorboard=false"))
    found = read_probes(run(config))
    shown = panels(build(config))
    gated = {"gates"} if cell != "rnn" else set()
    assert {panel.tag.split("/")[0] for panel in shown} == {"weights", "saturation", "jacobian"} | gated
    assert {"weights", "saturation", "jacobian", "gates"} == set(PICTURES)
    for panel in shown:
        taken = [panel.take(step, measured) for step, measured in found.items()]
        assert any(taken), panel.tag
        figure = panel.figure()
        assert pixels(figure).shape[1] == 720
        assert "2 seeds" in figure.get_suptitle()


def test_a_map_shows_the_median_over_seeds_with_t_upwards():
    (panel,) = [p for p in of("probes=cheap") if p.tag == "gates/map_of_openness"]
    measured = [shares(3, 12) * k for k in (1.0, 0.5)]
    for step, value_RT in zip((1, 9), measured, strict=True):
        assert panel.take(step, {"gates.forget.mean_at_step": value_RT, "gates.forget.mean": value_RT[:, 0]})
    assert not panel.take(10, {"weights.hidden.drift": np.ones(3)})
    picture = panel.figure().axes[0].images[0]
    np.testing.assert_allclose(picture.get_array(), np.median(measured, axis=1).T)
    assert panel.figure().axes[0].get_title() == "forget"


def of(*overrides):
    return panels(build(validate(composed("task=adding", "task.length=6", "cell.hidden=3", *overrides))))


def test_panels_are_labelled_once_and_share_one_scale():
    parts = {name: shares(4, 12) for name in ("input", "forget", "output", "candidate")}
    figure = probe_figures.maps(STEP, parts, title="gates", label="0: shut")
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == list(parts)
    assert {axes.images[0].get_clim() for axes in panels} == {(0.2, 0.4)}
    assert bar.get_ylabel() == "0: shut"
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("training step", "time step t")


def test_a_spectrum_has_its_ends_its_quartiles_and_isometry():
    value_PD = spectra()
    (axes,) = probe_figures.spectra(STEP, {"hidden": value_PD}, title="weights").axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    for name, at in {"largest": 0, "upper quartile": 2, "median": 4, "lower quartile": 6, "smallest": 8}.items():
        np.testing.assert_allclose(drawn[name], np.log10(value_PD[:, at]))
    assert any(np.all(np.asarray(line.get_ydata()) == 0) and line.get_linestyle() == "--" for line in axes.lines)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e-300, 1.0])
def test_anything_can_be_drawn(value):
    everywhere = np.full((len(STEP), 9), value)
    ends = {name: np.full((len(STEP), 4), value) for name in ("log10_largest", "log10_geometric_mean")}
    for step in (STEP, STEP[:1]):
        n = len(step)
        some = {name: end_PN[:n] for name, end_PN in ends.items()}
        for figure in (
            probe_figures.spectra(step, {"hidden": everywhere[:n]}, title="weights"),
            probe_figures.maps(step, {"h": np.clip(everywhere[:n], 0, 1)}, title="gates", label=""),
            probe_figures.products(step, np.arange(4.0), some, title="product"),
        ):
            assert pixels(figure).any()
