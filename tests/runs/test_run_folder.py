"""The run folder's files keep the contract that other programs rely on."""

import json

import numpy as np
import pytest
from helpers import adjoints, metrics, only_run, read, rnnlab
from omegaconf import OmegaConf
from support import composed

from rnnlab.cli import run_command_line
from rnnlab.groups import NEUTRAL
from rnnlab.runs.identity import run_id
from rnnlab.schema import validate


@pytest.fixture
def folder(in_tmp_path):
    assert rnnlab("seeds=[3,5]", "milestones=[100.0,1e-9]") == 0
    return only_run()


def test_files_of_a_finished_run(folder):
    assert {p.name for p in folder.iterdir()} >= {
        "config.yaml", "manifest.json", "metrics.jsonl", "summary.json", "adjoints.npz", "checkpoint",
    }  # fmt: skip


def test_manifest(folder):
    manifest = read(folder, "manifest.json")
    assert manifest["status"] == "finished"
    assert manifest["run_id"] == folder.name
    assert manifest["seeds"] == [3, 5]
    assert manifest["engine"] in ("fused", "autograd")  # whichever `auto` finds here
    assert manifest["end"] >= manifest["start"]
    assert {"versions", "git_commit", "device", "threads"} <= manifest.keys()


def test_metrics_lines(folder):
    rows = metrics(folder)
    assert {row["seed"] for row in rows} == {3, 5}
    train = [row for row in rows if row["split"] == "train"]
    assert sorted({row["step"] for row in train}) == [1, 3, 5, 6, 9, 10, 12]
    for row in train:
        assert {"loss", "baseline", "grad_norm", "clip_fraction", "lr"} <= row.keys()
        assert 0 <= row["clip_fraction"] <= 1
    probed = [row for row in train if row["step"] in (1, 5, 10)]
    assert all({"adjoint_slope_h", "adjoint_ratio_c", "adjoint_live_h"} <= row.keys() for row in probed)
    evaluations = [row for row in rows if row["split"] == "eval"]
    assert sorted({row["step"] for row in evaluations}) == [0, 4, 8, 12]
    assert all("accuracy" in row for row in evaluations)


def test_adjoints_file(folder):
    arrays = adjoints(folder)
    assert arrays["step"].tolist() == [1, 5, 10]
    assert arrays["seed"].tolist() == [3, 5]
    assert arrays["state"].tolist() == ["h", "c"]
    assert arrays["norm"].shape == (3, 2, 2, 7)
    assert arrays["norm"].dtype == np.float64
    assert (arrays["norm"] > 0).all()


def test_summary(folder):
    summary = read(folder, "summary.json")
    assert summary["seconds_per_step"] > 0
    for row in summary["seeds"]:
        assert row["status"] == "unsolved"
        assert row["steps_to_solve"] is None
        assert row["steps"] == 12
        assert row["milestones"] == {"100": 0}
        assert row["best_eval_loss"] <= row["final_eval_loss"]


def test_the_configuration_is_enough_to_run_it_again(folder, capfd):
    arguments = [f"--config-path={folder.resolve()}", "--config-name=config"]
    assert run_command_line(arguments) == 0
    assert "finished already" in capfd.readouterr().out
    assert run_command_line([*arguments, "name=again"]) == 0
    assert only_run("again").name == folder.name
    assert (only_run("again") / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()


def test_identity_is_what_determines_the_results(folder):
    raw = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)

    engine = read(folder, "manifest.json")["engine"]

    def identity(**changes):
        return run_id(validate({**raw, **changes}), device="cpu", engine=engine, sources={})

    assert identity() == folder.name
    for group in (group for group, neutral in NEUTRAL.items() if raw[group] == neutral):
        older = {key: value for key, value in raw.items() if key != group}
        assert run_id(validate(older), device="cpu", engine=engine, sources={}) == folder.name
    for change in ({"name": "other"}, {"force": True}, {"tensorboard": True}, {"checkpoint": {"every": 1, "keep": 1}}):
        assert identity(**change) == folder.name
    for change in (
        {"seeds": [3]},
        {"steps": 13},
        {"dtype": "float64"},
        {"probe": {"every": 1}},
        {"optimiser": {**raw["optimiser"], "lr": 0.5}},
    ):
        assert identity(**change) != folder.name


def test_no_value_is_written_that_json_does_not_know(in_tmp_path):
    assert rnnlab("optimiser=sgd", "optimiser.lr=1e30", "clipping=none", "log.every=1") == 0
    for line in (only_run() / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_finished_run_does_nothing_unless_forced(in_tmp_path, capfd):
    assert rnnlab() == 0
    folder = only_run()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"}
    assert rnnlab() == 0
    assert "finished already" in capfd.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"}
    metrics_before = (folder / "metrics.jsonl").read_bytes()
    (folder / "of before").touch()
    assert rnnlab("force=true") == 0
    assert (folder / "metrics.jsonl").read_bytes() == metrics_before
    assert not (folder / "of before").exists()


def test_probe_zero_records_nothing(in_tmp_path):
    assert rnnlab("probe.every=0") == 0
    assert adjoints(only_run())["norm"].shape == (0, 1, 2, 7)


def test_the_best_evaluation_survives_one_that_is_not_a_number(in_tmp_path):
    sick = ["cell=rnn", "activation=identity", "optimiser=sgd", "optimiser.lr=3", "clipping=none", "task.length=60"]
    assert rnnlab(*sick, "evaluate.every=1", "steps=40") == 0
    finite = [row["loss"] for row in metrics(only_run()) if row["split"] == "eval" and row["loss"] is not None]
    (row,) = read(only_run(), "summary.json")["seeds"]
    assert row["status"] == "diverged"
    assert row["best_eval_loss"] == min(finite)


def test_a_stored_configuration_does_not_force(in_tmp_path):
    assert rnnlab("force=true") == 0
    assert OmegaConf.load(only_run() / "config.yaml").force is False


def test_an_id_stays_what_it_is():
    """A change of what is hashed makes every run there is another: on purpose, and once."""
    config = validate(composed("cell=gru"))
    assert (
        run_id(config, device="cpu", engine="autograd", sources={}) == "adding-gru-tanh-orthogonal-norm-adam-af0dd9ea"
    )
    with_one = validate(composed("cell=gru", "parametrisation=cayley", "dropout=zoneout", "clipping=none"))
    assert "orthogonal-cayley-zoneout-adam" in run_id(with_one, device="cpu", engine="autograd", sources={})
