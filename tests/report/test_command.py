"""`python -m rnnlab.report`: what it writes, what it says about bad input, and its exit status."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from synthetic_runs import write_run

from rnnlab.report.__main__ import main


@pytest.fixture
def runs(in_tmp_path):
    for cell in ("rnn", "gru"):
        write_run(in_tmp_path / "runs" / "a" / cell, {"cell": cell}, seeds=[0, 1], rng=np.random.default_rng(0))
    return in_tmp_path / "runs"


FILES = {"index.html", "report.md", "arms.csv", "pairs.csv", "seeds.csv", "figures"}


def test_the_runs_of_the_current_folder_are_compared_without_torch(runs):
    command = "import sys; from rnnlab.report.__main__ import main; main([]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=runs.parent)
    assert done.returncode == 0, done.stderr
    assert "2 arms: report/index.html" in done.stdout
    assert {path.name for path in (runs.parent / "report").iterdir()} == FILES


def test_the_same_runs_give_the_same_tables_and_figures_again(runs):
    def written():
        assert main(["runs", "--out", "out"]) == 0
        files = [path for path in (runs.parent / "out").rglob("*") if path.is_file() and path.name != "index.html"]
        return {path.name: path.read_bytes() for path in files}

    (runs.parent / "out" / "figures").mkdir(parents=True)
    (runs.parent / "out" / "figures" / "9-heat_maps.png").write_bytes(b"of an earlier report")
    (runs.parent / "out" / "figures" / "mine.png").write_bytes(b"not ours")
    first = written()
    assert "9-heat_maps.png" not in first
    assert "mine.png" in first
    assert written() == first


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere"], 2, "nowhere: no such folder"),
        (["empty"], 2, "empty: no run folder there"),
        (["broken"], 1, "none of the 1 run folder(s)"),
        (["runs", "--out", "file"], 2, "--out file: not allowed"),
        (["runs", "--seed", "x"], 2, "--seed: x: not allowed; a whole number from 0 to 4294967295"),
        (["runs", "--seed", "-1"], 2, "--seed: -1: not allowed"),
        (["runs", "--seed", "4294967296"], 2, "--seed: 4294967296: not allowed"),
        (["runs", "--seed", "9" * 5000], 2, "(5,000 characters): not allowed"),
        (["runs", "--out", ""], 2, "--out: '': cannot be a path (empty)"),
        (["runs", "--out", "x" * 5000], 2, "cannot be a path"),
        ([""], 2, "cannot be a path (empty)"),
        (["a\0b"], 2, "a\\x00b: cannot be a path"),
        (["a\nb"], 2, "a\\nb: no such folder"),
        (["runs", "--title", "a\nb"], 2, "--title: a\\nb: not allowed"),
        (["runs", "--title", "\udc80"], 2, "--title: \\udc80: not allowed"),
        (["runs", "--titel", "x"], 2, "Did you mean '--title'?"),
        (["runs", "--tit", "x"], 2, "Did you mean '--title'?"),
    ],
)
def test_bad_input_is_one_message(runs, arguments, status, words, capsys):
    folder = runs.parent
    (folder / "empty").mkdir()
    (folder / "broken" / "run").mkdir(parents=True)
    (folder / "broken" / "run" / "manifest.json").write_text("{")
    (folder / "file").write_text("mine")
    before = {path.name for path in folder.iterdir()}
    try:
        found = main(arguments)
    except SystemExit as error:
        found = error.code
    assert found == status
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == (2 if status == 1 else 1)  # an unreadable folder is named first
    assert len(told) < 400
    assert {path.name for path in folder.iterdir()} == before
    assert (folder / "file").read_text() == "mine"


def test_what_could_not_be_read_is_named_and_the_rest_compared(runs, capsys):
    (runs / "a" / "rnn" / "config.yaml").unlink()
    assert main(["runs"]) == 0
    captured = capsys.readouterr()
    assert "runs/a/rnn: config.yaml: is missing" in captured.err
    assert "1 runs" in captured.out


def test_a_folder_or_a_value_cannot_write_lines_of_its_own(runs, capsys):
    """Nor move the cursor."""
    for name, change in (("a\nLeft out: b\x1b[2J", {}), ("sound", {"task.note": "x\nFirst: y\x1b]0;z\x07"})):
        write_run(runs / name, change, seeds=[0], rng=np.random.default_rng(0))
    (runs / "a\nLeft out: b\x1b[2J" / "manifest.json").write_text("{")
    assert main([str(runs)]) == 0
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert f"{runs}/a\\nLeft out: b\\x1b[2J: manifest.json: " in line
    assert len(captured.out.splitlines()) == 3  # two tasks, and how many runs
    assert all(line.isprintable() for line in captured.out.splitlines())


def test_numpy_and_matplotlib_say_nothing_of_a_run_s_values(runs, capfd, monkeypatch):
    def collect(paths):
        warnings.warn("of a value", RuntimeWarning, stacklevel=1)
        return [], []

    monkeypatch.setattr("rnnlab.report.write.collect", collect)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside of a test
        assert main([str(runs)]) == 2
    assert "of a value" not in capfd.readouterr().err
