"""A path of any characters works at every entrance, or is refused in one line: none is read as Hydra's grammar."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import only_run, rnnlab

from rnnlab.build import build
from rnnlab.cli import run_command_line
from rnnlab.overrides import quoted
from rnnlab.report.__main__ import main as report

NAMES = [
    "it's \"a\" b=c,d;e:f%20*(g)$HOME\n\té\U0001f600", "${x}", "{a: 1}[a#", "\udcff\udcfe", "-a", "--a=b", "a'\\",
    "x" * 255, "null", "~nobody-of-this-name",
]  # fmt: skip
CELL = "_target_: rnnlab.cells.gru.GRU\nhidden: 3\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        assert rnnlab("engine=autograd") == 0
        return only_run().resolve()


def current_folder(name, run, patch, work):
    patch.chdir(name)
    return run_command_line(["--config-dir=.", "cell=mine", "-m"], work)


def temporary_folder(name, run, patch, work):
    patch.setattr(tempfile, "tempdir", str(Path(name).resolve()))
    return run_command_line(["cell=gru", "-m"], work)


def config_dir(name, run, patch, work):
    return run_command_line([f"--config-dir={name}", "cell=mine"], work)


def searchpath(name, run, patch, work):
    return run_command_line([f"hydra.searchpath=[{quoted(Path(name).resolve())}]", "cell=mine"], work)


def config_path(name, run, patch, work):
    shutil.copy(run / "config.yaml", name)
    return run_command_line([f"--config-path={name}"], work)


def task_source(name, run, patch, work):
    images, labels = np.zeros((20, 2, 2), np.uint8), np.zeros(20, np.uint8)
    np.savez(Path(name, "m.npz"), x_train=images, y_train=labels, x_test=images, y_test=labels)
    line = ["task=smnist", "task.batch=2", f"task.source={quoted(Path(name, 'm.npz'))}"]
    return run_command_line(line, lambda config: work(build(config)))


def report_out(name, run, patch, work):
    work(run)
    return report([f"--out={name}", "--", str(run)]) or (0 if Path(name, "index.html").exists() else 1)


def report_runs(name, run, patch, work):
    work(run)
    shutil.copytree(run, Path(name, "run"), dirs_exist_ok=True)
    return report(["--out=report", "--", name])


REFUSED = {
    current_folder: (),
    temporary_folder: (),
    config_dir: (),
    searchpath: ("${x}",),  # Hydra does not take its own escapes back there
    config_path: (),
    task_source: ("${x}", "\udcff\udcfe"),  # what config.yaml cannot keep
    report_out: (),
    report_runs: (),
}
"""By entrance, the names that are refused."""
DRAWING = (report_out, report_runs)
"""Takes seconds, and Hydra has no part in it: a few names are enough."""


@pytest.mark.parametrize("enter", REFUSED, ids=lambda entrance: entrance.__name__)
def test_a_path_of_any_characters(enter, finished, in_tmp_path, capfd):
    for name in NAMES[:: 5 if enter in DRAWING else 1]:
        (in_tmp_path / name / "cell").mkdir(parents=True)
        (in_tmp_path / name / "cell" / "mine.yaml").write_text(CELL)
        done = []
        with pytest.MonkeyPatch.context() as patch:
            status = enter(name, finished, patch, done.append)
        error = capfd.readouterr().err
        works = (status, len(done), error) == (0, 1, "")
        refused = (status, len(done), error.count("\n")) == (2, 0, 1)
        assert works or refused, (name, status, error)
        assert refused == (name in REFUSED[enter]), (name, error)


@pytest.mark.parametrize("enter", [current_folder, config_dir, config_path])
def test_a_reference_that_is_left_open(enter, finished, in_tmp_path, monkeypatch, capfd):
    """Hydra keeps the paths of the first two in its configuration, where OmegaConf fails at them."""
    os.makedirs("a${b/cell")
    Path("a${b/cell/mine.yaml").write_text(CELL)
    assert enter("a${b", finished, monkeypatch, lambda config: None) == (0 if enter is config_path else 2)
    error = capfd.readouterr().err
    assert enter is config_path or "a${b" in error.partition(": not allowed. In a path '${' begins a reference.\n")[0]


def test_the_home_folder_may_be_written_as_a_tilde(finished, in_tmp_path, monkeypatch):
    """Behind `=` the shell leaves it as it is."""
    monkeypatch.setenv("HOME", str(in_tmp_path / "home"))
    Path("home/cell").mkdir(parents=True)
    Path("home/cell/mine.yaml").write_text(CELL)
    shutil.copytree(finished, "home/run")
    done = []
    for line in (["--config-dir=~", "cell=mine"], ["--config-path=~/run/"], ["--config-path", "~/run/config.yaml"]):
        assert run_command_line(line, done.append) == 0
    assert len(done) == 3


def test_a_run_folder_given_for_a_folder_of_groups_is_refused(finished, capfd):
    """It would be passed over, and the default be trained."""
    assert run_command_line([f"--config-dir={finished}"], lambda config: None) == 2
    assert capfd.readouterr().err.endswith("A run folder goes by --config-path.\n")


@pytest.mark.parametrize("line", [[], ["cell=gru"], ["-m", "cell=gru,rnn"]])
def test_an_option_of_ones_own_that_would_be_passed_over_is_refused(line, in_tmp_path, capfd):
    """rnnlab's of the same name was taken, in silence."""
    Path("conf/cell").mkdir(parents=True)
    Path("conf/cell/gru.yaml").write_text(CELL)
    assert run_command_line(["--config-dir=conf", *line], lambda config: None) == 2
    assert "rnnlab has a cell/gru.yaml too, which is taken." in capfd.readouterr().err
