"""Run folders are read as far as they go; what cannot be read is named, and nothing in a run folder changes."""

import json
import math
import re
import shutil

import filelock
import numpy as np
import pytest
from helpers import only_run, rnnlab, seal
from synthetic_runs import write_run

from rnnlab.report import write
from rnnlab.report.outcome import from_metrics, from_summary
from rnnlab.report.reading import UnreadableError, find, flat, read
from rnnlab.report.write import collect, make_report
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.record import Record
from rnnlab.runs.shapes import DEPTH


@pytest.fixture
def run(tmp_path):
    """A finished run of four seeds, one of which is sure to end early."""
    write_run(tmp_path / "run", seeds=[3, 5, 7, 9], rng=np.random.default_rng(1), solve_at=700)
    return tmp_path / "run"


def change(path, **values):
    """A file from a stranger: other values, and a manifest that vouches for them."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps(content))
    seal(path.parent)


def test_a_real_run_is_read_and_its_metrics_tell_what_its_summary_tells(in_tmp_path):
    assert rnnlab("seeds=3", "task.solved_mse=1.0") == 0
    folder = only_run()
    run = read(folder)
    assert (run.state, run.unit, run.metric) == ("finished", "squared error", "accuracy")
    assert run.config["cell"] == "lstm"
    assert run.config["cell.hidden"] == 6
    from_lines = from_metrics(Record(folder).metrics().rows, [0, 1, 2], run.metric)
    assert any(outcome.status == "solved" for outcome in run.outcomes)
    for told, derived in zip(run.outcomes, from_lines, strict=True):
        assert told.steps_to_solve == derived.steps_to_solve
        assert (told.final_loss, told.final_metric) == (derived.final_loss, derived.final_metric)
        assert derived.status == ("undecided" if told.status == "unsolved" else told.status)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_tell_what_the_summary_tells(tmp_path, seed):
    write_run(tmp_path / "run", seeds=list(range(8)), rng=np.random.default_rng(seed), diverging=0.4)
    record = Record(tmp_path / "run")
    told, derived = from_summary(record.summary), from_metrics(record.metrics().rows, list(range(8)), "accuracy")
    assert {outcome.status for outcome in told} >= {"diverged"}
    for a, b in zip(told, derived, strict=True):
        assert (a.steps_to_solve, a.final_loss) == (b.steps_to_solve, b.final_loss)
        assert b.status == ("undecided" if a.status == "unsolved" else a.status)


def test_running_is_who_holds_the_lock_and_died_is_who_does_not(run):
    seal(run, status="running")
    (run / "summary.json").unlink()
    assert read(run).state == "died"
    lock = filelock.FileLock(run / ".lock")
    with lock:
        assert read(run).state == "running"
    assert read(run).state == "died"
    assert all(outcome.status != "unsolved" for outcome in read(run).outcomes)


def test_reading_changes_nothing(run):
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert read(run).evaluations.by_seed
    assert read(run).adjoints() is not None
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("manifest.json", b'{"status": "fini', "manifest.json: cannot be read"),
        ("manifest.json", None, "manifest.json: is missing"),
        ("manifest.json", b"[]", "manifest.json: is not what a run writes"),
        ("manifest.json", b"null", "manifest.json: is not what a run writes"),
        ("manifest.json", b'{"status": "sleeping"}', "manifest.json: is not what a run writes"),
        ("config.yaml", None, "config.yaml: is missing"),
        ("config.yaml", b"a: [", "config.yaml: cannot be read"),
        ("config.yaml", b"\xff\xfe", "config.yaml: cannot be read"),
        ("config.yaml", b"steps", "config.yaml: "),
        ("config.yaml", b"steps: 3", "config.yaml: does not match its checksum"),
    ],
)
def test_a_damaged_folder_is_named_and_the_others_are_read(run, file, content, words):
    write_run(run.parent / "sound", seeds=[0], rng=np.random.default_rng(0))
    (run / file).unlink()
    if content is not None:
        (run / file).write_bytes(content)
    runs, unreadable = collect([run.parent])
    assert [found.path.name for found in runs] == ["sound"]
    ((folder, reason),) = unreadable
    assert folder == str(run)
    assert words in reason


def test_a_finished_run_without_its_summary_is_read_from_its_metrics(run):
    outcomes = read(run).outcomes
    (run / "summary.json").unlink()
    found = read(run)
    assert "summary.json: is missing" in found.remarks[0]
    assert [o.steps_to_solve for o in found.outcomes] == [o.steps_to_solve for o in outcomes]


def test_a_half_written_line_of_a_run_at_work_is_left_out(run):
    seal(run, status="running")
    before = read(run).evaluations
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5000, "seed": 3, "split": "eval", "lo')
    after = read(run).evaluations
    for seed, (step, loss) in before.by_seed.items():
        np.testing.assert_array_equal(after.by_seed[seed][0], step)
        np.testing.assert_array_equal(after.by_seed[seed][1], loss)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_damaged_norms_are_remarked_upon(run, content):
    (run / "adjoints.npz").write_bytes(content)
    found = read(run)
    assert found.adjoints() is None
    assert "adjoints.npz" in found.remarks[0]


def test_norms_with_a_pickle_inside_are_not_loaded(run):
    np.savez(run / "adjoints.npz", step=[1], seed=[0], norm=np.array([{}], dtype=object), state=["h"])
    seal(run)
    assert read(run).adjoints() is None


def test_run_folders_are_found_once_at_any_depth_and_not_within_each_other(run):
    deep = run.parent / "a" / "b" / "deep"
    write_run(deep, seeds=[0], rng=np.random.default_rng(0))
    write_run(run / "checkpoint" / "inner", seeds=[0], rng=np.random.default_rng(0))
    assert set(find([run.parent, run, deep.parent])) == {run, deep}
    assert list(find([run])) == [run]


def test_links_to_runs_are_followed_each_run_once_and_loops_end(run, tmp_path):
    pick = tmp_path / "pick"
    (pick / "deep").mkdir(parents=True)
    (pick / "deep" / "one").symlink_to(run)
    (pick / "twice").symlink_to(run)
    (pick / "loop").symlink_to(pick)
    (pick / "itself").symlink_to("itself")
    assert list(find([pick])) == [pick / "deep" / "one"]
    assert read(pick / "twice").outcomes == read(run).outcomes
    (tmp_path / "above").symlink_to(tmp_path)
    assert [path.resolve() for path in find([tmp_path / "above", pick, run])] == [run]


def test_an_option_is_named_as_on_the_command_line_and_a_foreign_class_in_full():
    config = {
        "cell": {"_target_": "rnnlab.cells.lstm.LSTM", "hidden": 3},
        "task": {"_target_": "mine.tasks.T"},
        "steps": 5,
    }
    assert flat(config) == {"cell": "lstm", "cell.hidden": 3, "task": "mine.tasks.T", "steps": 5}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": "many"}, "steps='many'"),
        ({"steps": 0}, "steps=0"),
        ({"optimiser": {"lr": "fast"}}, "optimiser.lr='fast'"),
        ({"optimiser": {"lr": math.nan}}, "optimiser.lr=nan"),
        ({"optimiser": {"lr": 10**400}}, "is larger than any number"),
        ({"evaluate": {"every": -(2**63)}}, "is larger than any number"),
    ],
)
def test_a_configuration_that_cannot_be_counted_with_costs_only_its_run(run, change, words):
    write_run(run.parent / "sound", seeds=[0], rng=np.random.default_rng(0))
    RunFolder(run).write_config(Record(run).config | change)
    seal(run)
    make_report(*collect([run.parent]), run.parent / "report")
    ((_, reason),) = collect([run.parent])[1]
    assert words in reason


@pytest.mark.parametrize("value", ["x", -1, 1e400, [1]])
def test_steps_to_solve_that_are_no_updates_are_refused(run, value):
    summary = json.loads((run / "summary.json").read_text())
    summary["seeds"][0]["steps_to_solve"] = value
    change(run / "summary.json", **summary)
    told = read(run)
    assert told.remarks[0].startswith("summary.json: ")
    assert "seeds.0.steps_to_solve" in told.remarks[0]
    assert told.outcomes == from_metrics(told.record.metrics().rows, [3, 5, 7, 9], "accuracy")


@pytest.mark.parametrize(
    "odd",
    [
        {"step": 5, "seed": [3]},
        {"step": 5, "seed": "x"},
        {"step": 10**30, "seed": 3},
        {"step": -5, "seed": 3},
        {"step": 5000, "seed": 3, "loss": 10**400},
    ],
)
def test_odd_lines_are_counted_and_do_not_stop_a_report(run, odd):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"split": "eval", **odd}) + "\n")
    seal(run)
    (found,), _ = collect([run])
    assert "1 of " in found.remarks[0]
    assert "lines cannot be read" in found.remarks[0]
    make_report([found], [], run.parent / "report")


@pytest.mark.parametrize("norm", [-np.ones((1, 1, 1, 9)), np.full((1, 1, 1, 9), "x"), np.ones((1, 1, 1, 9)) * 1j])
def test_norms_that_are_no_norms_are_remarked_upon(run, norm):
    np.savez(run / "adjoints.npz", step=[1], seed=[3], norm=norm, state=["h"])
    seal(run)
    found = read(run)
    assert found.adjoints() is None
    assert "no numbers from 0" in found.remarks[0]


def nested(depth):
    return [nested(depth - 1)] if depth else 7


@pytest.mark.parametrize("depth", [DEPTH, 200])
def test_a_manifest_that_is_nested_without_end_costs_only_its_run(run, depth):
    seal(run, extra=nested(DEPTH - 1))
    assert read(run).manifest["extra"] == nested(DEPTH - 1)
    seal(run, extra=nested(depth))
    ((_, reason),) = collect([run.parent])[1]
    assert reason.startswith("manifest.json: ")
    assert f" {DEPTH} deep" in reason


@pytest.mark.parametrize("session", [{"from_step": 0}, {"from_step": 0, "training_steps": 5}])
def test_what_a_session_need_not_say_has_a_default(run, session):
    seal(run, sessions=[session], status="interrupted")
    (found,), _ = collect([run])
    assert found.manifest["sessions"][0].keys() >= {"start", "to_step", "training_seconds"}
    make_report([found], [], run.parent / "report")


def test_a_run_has_a_session(run):
    seal(run, sessions=[])
    assert "manifest.json: is not what a run writes (sessions" in collect([run])[1][0][1]


def test_files_of_another_run_are_not_believed(run):
    """Each is whole, and has its own checksum."""
    other = run.parent / "other"
    write_run(other, {"optimiser.lr": 0.5}, seeds=[3, 5, 7, 9], rng=np.random.default_rng(2))
    for name in ("summary.json", "adjoints.npz", "metrics.jsonl"):
        swapped = shutil.copytree(run, run.parent / name)
        shutil.copy(other / name, swapped / name)
        assert f"{name}: does not match its checksum; " in read(swapped).remarks[0]
        if name == "summary.json":
            seal(swapped)
            assert "summary.json: is of another run, other; results are" in read(swapped).remarks[0]
    for name in ("config.yaml", "manifest.json"):
        swapped = shutil.copytree(run, run.parent / name)
        shutil.copy(other / name, swapped / name)
        with pytest.raises(UnreadableError, match=r"config.yaml: .*manifest.json"):
            read(swapped)


def test_a_folder_may_be_renamed(run):
    """For those who read; who goes on with a run finds it by its name."""
    moved = run.rename(run.parent / "moved")
    assert read(moved).outcomes
    assert read(moved).remarks == []
    with pytest.raises(DamagedError, match=r"manifest.json: .*another run, run"):
        RunFolder(moved).manifest()


def test_what_a_finished_run_does_not_list_is_not_its_own(run):
    path = run / "probes" / "step-00000001.npz"
    path.parent.mkdir()
    np.savez(path, seed=[3], x=[1.0])
    with pytest.raises(DamagedError, match=re.escape(path.name)):
        dict(Record(run).probes())
    seal(run, status="interrupted")
    assert dict(Record(run).probes()).keys() == {1}


@pytest.mark.parametrize("name", ["x" * 81, "a\nb", "\x1b[2J"])
def test_a_state_is_named_in_a_few_letters(run, name):
    with np.load(run / "adjoints.npz") as arrays:
        np.savez(run / "adjoints.npz", **{**arrays, "state": [name]})
    seal(run)
    found = read(run)
    assert found.adjoints() is None
    assert "names a state by more than a line" in found.remarks[0]


def test_probed_steps_are_whole_numbers_that_a_float_holds(run):
    with np.load(run / "adjoints.npz") as arrays:
        np.savez(run / "adjoints.npz", **{**arrays, "step": arrays["step"].astype(np.uint64) + 2**63})
    seal(run)
    assert read(run).adjoints() is None


@pytest.mark.parametrize("where", ["read", "sections", "details"])
def test_a_fault_that_nobody_foresaw_costs_only_its_run(run, monkeypatch, where):
    write_run(run.parent / "sound", seeds=[0], rng=np.random.default_rng(0))
    function = getattr(write, where)

    def fails_at_one(given, **options):
        (path,) = [getattr(of, "path", of) for of in (given if isinstance(given, list) else [given])]
        return 1 // (path.name == "sound") and function(given, **options)

    monkeypatch.setattr(write, where, fails_at_one)
    (found,), ((_, reason),) = collect([run.parent])
    assert found.path.name == "sound"
    assert "ZeroDivisionError" in reason
