"""Figures say what they show, and show what the runs hold."""

import numpy as np
import pytest
from helpers import seal
from synthetic_runs import BASELINE, write_run

from rnnlab.report.arms import sections
from rnnlab.report.comparison import compare
from rnnlab.report.figures.all import draw
from rnnlab.report.figures.depth_maps import Depth, _along_the_sequence
from rnnlab.report.figures.heat_maps import MAPS
from rnnlab.report.figures.learning_curves import losses
from rnnlab.report.figures.norms import gather
from rnnlab.report.figures.style import DRAWN, OFF, labelled, png, quartiles
from rnnlab.report.reading import find, read
from rnnlab.runs.folder import RunFolder


@pytest.fixture
def comparison(tmp_path):
    def make(*changes, seeds=3, **options):
        for k, change in enumerate(changes):
            write_run(tmp_path / f"run{k}", change, seeds=list(range(seeds)), rng=np.random.default_rng(k), **options)
        (section,) = sections([read(path) for path in find([tmp_path])], every_lr=False)
        return compare(section, np.random.default_rng(0))

    return make


SWEPT = [{"cell": cell, "optimiser.lr": lr} for cell in ("rnn", "lstm") for lr in (0.1, 0.01)]


def test_every_axis_is_labelled_with_its_unit(comparison):
    drawings = {drawing.name: drawing for drawing in draw(comparison(*SWEPT))}
    assert set(drawings) == {"learning_curves", "solve_curves", "adjoint_curves", "heat_maps", "sensitivity"}
    for name in ("learning_curves", "solve_curves"):
        (axes,) = drawings[name].figure.axes
        assert axes.get_xlabel() == "training step (updates)"
    assert "squared error" in drawings["learning_curves"].figure.axes[0].get_ylabel()
    first, *others = drawings["adjoint_curves"].figure.axes
    assert "squared error" in first.get_ylabel()
    assert all(axes.get_xlabel() == "time step t" for axes in (first, *others))
    assert "squared error" in drawings["heat_maps"].figure.axes[-1].get_ylabel()
    assert "learning rate" in drawings["sensitivity"].figure.axes[1].get_xlabel()
    assert all("3 seeds per arm" in drawings[n].caption for n in ("learning_curves", "solve_curves", "adjoint_curves"))


def test_the_baseline_is_drawn(comparison):
    drawing = next(draw(comparison({})))
    assert [BASELINE, BASELINE] in [list(line.get_ydata()) for line in drawing.figure.axes[0].lines]


def test_heat_maps_share_one_scale(comparison):
    drawings = {
        drawing.name: drawing for drawing in draw(comparison({"cell": "rnn"}, {"cell": "lstm"}, {"cell": "gru"}))
    }
    maps = [image for axes in drawings["heat_maps"].figure.axes[:-1] for image in axes.images]
    assert len(maps) == 3
    assert len({image.get_clim() for image in maps}) == 1


def test_norms_of_an_arm_are_those_of_its_seeds_at_every_step(comparison, tmp_path):
    write_run(tmp_path / "more", {}, seeds=[7, 8], rng=np.random.default_rng(4))
    found = comparison({}, diverging=0.0)
    (row,) = found.rows
    norms = gather(row)
    stored = [np.load(run.path / "adjoints.npz")["norm"][:, :, 0] for run in row.arm.runs]
    np.testing.assert_array_equal(norms.norm_PRT, np.concatenate(stored, axis=1))
    with np.errstate(all="ignore"):
        expected = np.nanmedian(norms.norm_PRT[0], axis=0)
    np.testing.assert_allclose(norms.median()[0], expected)


def test_an_ended_seed_keeps_its_loss_and_a_diverged_one_is_infinite(comparison):
    (row,) = comparison({}, seeds=12, diverging=0.5).rows
    step, loss_RN = losses(row.arm.replicas)
    statuses = set()
    for replica, loss_N in zip(row.arm.replicas, loss_RN, strict=True):
        outcome = replica.outcome
        statuses.add(outcome.status)
        expected = np.inf if outcome.status == "diverged" else outcome.final_loss
        after = loss_N[step >= outcome.steps]
        assert (after == expected).all()
        assert np.isfinite(loss_N[step < outcome.steps]).all()
    assert "diverged" in statuses


def test_quartiles_take_infinity_as_the_largest_and_ignore_what_is_not_there():
    low, median, high = quartiles(np.array([[1.0, np.nan], [2.0, np.nan], [np.inf, np.nan]]))[:, 0]
    assert (low, median) == (1.5, 2.0)
    assert high >= OFF / 4
    assert np.isnan(quartiles(np.full((3, 1), np.nan))).all()


def test_more_arms_than_styles_are_told_and_not_drawn(comparison):
    many = [{"cell.hidden": k} for k in range(MAPS + 3)]
    drawings = {drawing.name: drawing for drawing in draw(comparison(*many, seeds=1))}
    assert len(drawings["learning_curves"].figure.axes[0].lines) == DRAWN + 1
    assert f"first {DRAWN} of {MAPS + 3} arms" in drawings["learning_curves"].caption
    assert f"first {MAPS} of {MAPS + 3} arms" in drawings["heat_maps"].caption


def test_any_text_and_any_norm_can_be_drawn(comparison, tmp_path):
    for name in ("$\\frac", "\u4e2d\u6587 \ud800\n\x00", "x" * 10_000):
        found = comparison({"device": name}) if name.startswith("$") else None
        if found is None:
            continue
        for drawing in draw(found):
            assert png(drawing).startswith(b"\x89PNG")
    path = tmp_path / "run0" / "adjoints.npz"
    stored = dict(np.load(path))
    for value in (0.0, np.inf, np.nan):
        np.savez(path, **{**stored, "norm": np.full_like(stored["norm"], value)})
        seal(path.parent)
        (section,) = sections([read(tmp_path / "run0")], every_lr=False)
        for drawing in draw(compare(section, np.random.default_rng(0))):
            assert png(drawing).startswith(b"\x89PNG")


def test_runs_without_evaluations_and_norms_make_no_empty_figure(comparison, tmp_path):
    write_run(tmp_path / "bare", {"cell": "gru"}, seeds=[0], rng=np.random.default_rng(0), status="running")
    (tmp_path / "bare" / "metrics.jsonl").write_text("")
    (tmp_path / "bare" / "adjoints.npz").unlink()
    seal(tmp_path / "bare")
    assert [drawing.name for drawing in draw(comparison())] == ["solve_curves"]


def test_long_labels_that_differ_at_their_end_differ_in_the_legend(comparison):
    long = {"cell": "x" * 40, "activation": "y" * 40}
    found = comparison({**long, "dtype": "u" * 30}, {**long, "dtype": "v" * 30}, {"cell": "gru"})
    names = [labelled(row) for row in found.rows]
    assert len(set(names)) == len(found.rows)
    assert max(len(line) for name in names for line in name.splitlines()) <= 88


def test_a_curve_of_one_point_can_be_seen(comparison):
    (drawing,) = (d for d in draw(comparison({"steps": 40})) if d.name == "learning_curves")
    assert drawing.figure.axes[0].lines[0].get_marker() == "o"


@pytest.mark.parametrize("text", [r"$\frac{$", "a_1_2", "{}", "a\n" * 200, "\x1b[2J", "x" * 10_000, ""])
def test_what_a_run_calls_its_unit_or_its_state_is_text(tmp_path, comparison, text):
    write_run(tmp_path / "odd", SWEPT[0], seeds=[0], rng=np.random.default_rng(0))
    summary = read(tmp_path / "odd").record.summary | {"unit": text}
    RunFolder(tmp_path / "odd").write_json("summary.json", summary)
    if text.isprintable() and len(text) < 80:
        with np.load(tmp_path / "odd" / "adjoints.npz") as arrays:
            np.savez(tmp_path / "odd" / "adjoints.npz", **{**arrays, "state": [text]})
    seal(tmp_path / "odd")
    assert all(png(drawing) for drawing in draw(comparison(*SWEPT[1:])))


@pytest.mark.parametrize("norm", [5e-324, 1e308, np.inf])
def test_any_norm_can_be_drawn(tmp_path, comparison, norm):
    write_run(tmp_path / "odd", {"cell": "rnn"}, seeds=[0, 1], rng=np.random.default_rng(0))
    with np.load(tmp_path / "odd" / "adjoints.npz") as arrays:
        np.savez(tmp_path / "odd" / "adjoints.npz", **{**arrays, "norm": np.full_like(arrays["norm"], norm)})
    seal(tmp_path / "odd")
    assert all(png(drawing) for drawing in draw(comparison({"cell": "gru"})))


def test_curves_of_two_directions_fall_opposite_ways():
    falling_T = 10.0 ** np.arange(-4, 1)  # on its way back, as each cell takes its steps
    drawn = Depth(None, 1, ["forward.h", "backward.h", "backward2.c"], np.stack([falling_T] * 3))
    ahead, back, second = _along_the_sequence(drawn)
    np.testing.assert_array_equal(ahead, falling_T)
    np.testing.assert_array_equal(back, falling_T[::-1])
    np.testing.assert_array_equal(second, back)
