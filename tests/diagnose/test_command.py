"""`python -m rnnlab.diagnose`: what it writes, that it changes nothing else, and what it says of bad input."""

import html
import os
import shutil
import subprocess
import sys

import filelock
import numpy as np
import pytest
from helpers import read, seal
from helpers import rnnlab as trained
from PIL import Image
from sick import SMALL, run_folder

from rnnlab.config import config_folder
from rnnlab.diagnose.__main__ import main
from rnnlab.report.__main__ import main as report


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """runs/ with one run of two seeds and three checkpoints, made once; tests take copies."""
    folder = tmp_path_factory.mktemp("diagnosed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_folder("seeds=2", "steps=9", "checkpoint.every=3", "checkpoint.keep=3", "stop_when_solved=false")
    return folder / "runs"


@pytest.fixture
def run(trained_once, in_tmp_path):
    shutil.copytree(trained_once, in_tmp_path / "runs")
    (path,) = (in_tmp_path / "runs" / "default").iterdir()
    return path


def files(run):
    paths = [path for path in run.rglob("*") if path.is_file() and "diagnosis" not in path.parts]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths if path.name != ".lock"}


def test_a_diagnosis_is_a_page_and_a_figure_and_the_run_is_as_it_was(run, capsys):
    before = files(run)
    assert main([str(run)]) == 0
    captured = capsys.readouterr()
    assert files(run) == before
    text = (run / "diagnosis" / "diagnosis.md").read_text()
    assert captured.out.startswith(text[:200])
    assert len(captured.out.splitlines()) < 90
    assert max(map(len, captured.out.splitlines())) <= 240
    assert {path.name for path in (run / "diagnosis").iterdir()} == {"diagnosis.md", "diagnosis.png"}
    picture = np.asarray(Image.open(run / "diagnosis" / "diagnosis.png").convert("L"))
    assert picture.shape[1] > 800
    assert np.unique(picture).size > 8
    assert main(["runs"]) == 0, "a folder that holds one run stands for it"
    assert (run / "diagnosis" / "diagnosis.md").read_text() == text, "the same again"


@pytest.mark.parametrize(
    "parametrisation", sorted(p.stem for p in (config_folder() / "parametrisation").glob("*.yaml"))
)
def test_gates_are_those_of_the_weights_that_a_parametrisation_gives(parametrisation, in_tmp_path):
    cell = ["cell=indrnn", "initialiser=uniform"] if parametrisation == "bounded" else ["cell=gru"]
    path = run_folder(*cell, f"parametrisation={parametrisation}", "steps=2")
    assert main([str(path), "--examples", "2"]) == 0


def test_neither_the_run_nor_the_report_minds_the_folder(run, capfd):
    assert main([str(run)]) == 0
    assert (
        trained(*SMALL, "seeds=2", "steps=9", "checkpoint.every=3", "checkpoint.keep=3", "stop_when_solved=false") == 0
    )
    assert "finished already" in capfd.readouterr().out
    assert report(["runs"]) == 0
    assert "1 runs" in capfd.readouterr().out


def test_a_folder_whose_name_is_no_text(run):
    named = run.rename(run.with_name(os.fsdecode(b"x$\xff")))
    assert main([str(named)]) == 0
    assert (named / "diagnosis" / "diagnosis.png").exists()


def test_only_some_seeds_elsewhere_and_other_examples(run, capsys):
    assert main([str(run), "--seed", "1", "--out", "elsewhere", "--examples", "5"]) == 0
    out = capsys.readouterr().out
    assert "5 held-out examples" in " ".join(out.split())
    assert "1 unsolved" in out
    assert not (run / "diagnosis").exists()


@pytest.mark.parametrize("held", [True, False])
def test_a_run_at_work_is_diagnosed_without_its_lock_and_a_dead_one_too(run, held, capsys):
    (run / "summary.json").unlink()
    seal(run, status="running")
    lock = filelock.FileLock(run / ".lock")
    if held:
        lock.acquire()
    try:
        assert main([str(run)]) == 0
    finally:
        lock.release(force=True)
    assert ("The run is at work" if held else "The run has died") in capsys.readouterr().out


def test_a_damaged_checkpoint_is_passed_over_and_left_where_it_is(run, capsys):
    newest = max((run / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:-9])
    assert main([str(run)]) == 0
    captured = capsys.readouterr()
    assert newest.name in captured.err
    assert "update 6 of 9" in captured.out
    assert newest.exists()


def test_what_cannot_be_diagnosed_is_one_message(run, capsys):
    def told(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("rnnlab.diagnose: ")
        return status, message

    status, message = told("nowhere")
    assert (status, "no such folder" in message) == (2, True)
    (run.parents[2] / "empty").mkdir()
    assert told("empty")[0] == 2
    status, message = told(run, "--seed", "7")
    assert (status, "Allowed: 0, 1" in message) == (2, True)
    assert told(run, "--examples", "0")[0] == 2
    assert told(run, "--out", run / "config.yaml")[0] == 2
    shutil.copytree(run, run.with_name("another"))
    status, message = told("runs")
    assert (status, "holds 2 runs" in message) == (2, True)
    for checkpoint in (run / "checkpoint").iterdir():
        checkpoint.write_bytes(b"nothing")
    assert told(run) == (
        1,
        f"rnnlab.diagnose: {run}: none of its checkpoints can be read; there is nothing to measure.",
    )
    shutil.rmtree(run / "checkpoint")
    status, message = told(run)
    assert (status, "checkpoint.every" in message) == (1, True)
    (run / "config.yaml").write_text("{")
    assert told(run)[0] == 1
    assert not (run / "diagnosis").exists()


def test_a_checkpoint_of_another_net_is_told(run, capsys):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("hidden: 8", "hidden: 9"))
    seal(run)
    assert main([str(run)]) == 1
    assert "not of the net" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", [[5], [0, 1, 2], [0]])
def test_a_run_whose_files_do_not_agree_on_its_seeds_is_refused_in_one_line(seeds, run, capsys):
    text = (run / "config.yaml").read_text()
    listed = "".join(f"- {seed}\n" for seed in (0, 1))
    assert f"seeds:\n{listed}" in text
    (run / "config.yaml").write_text(text.replace(listed, "".join(f"- {seed}\n" for seed in seeds)))
    seal(run)
    assert main([str(run)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rnnlab.diagnose: {run / 'config.yaml'}: ")
    assert "seeds" in line


@pytest.mark.parametrize("arguments", [["--help"], ["--nonsense"], ["nowhere"], ["."]])
def test_what_needs_no_net_is_told_without_torch(arguments, tmp_path):
    code = f"""
import sys
from rnnlab.diagnose.__main__ import main
try:
    main({arguments})
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


OWN = """
from own_code.other import SCALE
from rnnlab.contract import CountOrZero, component

@component
class Clip:
    def __call__(self, step):
        return step.norm_R > SCALE
"""
LOOK = """
from typing import ClassVar
from rnnlab.contract import component

@component
class Look:
    needs: ClassVar = ()

    def measure(self, moment):
        return {}
"""


def test_a_run_whose_code_has_changed_is_measured_where_that_is_wanted_and_the_page_says_so(
    in_tmp_path, monkeypatch, capsys
):
    """Of a probe too, which the diagnosis does not make."""
    (in_tmp_path / "own_code").mkdir()
    for name, text in {"__init__": "", "clip": OWN, "look": LOOK, "other": "SCALE = 1e9\n"}.items():
        (in_tmp_path / "own_code" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(in_tmp_path))
    probe = "+probes.look={_target_: own_code.look.Look, every: 1, first: 0, per_decade: 0}"
    own = ["components=[rnnlab,own_code]", "clipping._target_=own_code.clip.Clip", "~clipping.max_norm", probe]
    run = run_folder(*own)
    sources = read(run, "manifest.json")["sources"]
    assert set(sources) == {"own_code", "own_code.clip", "own_code.look", "own_code.other"}
    arguments = [str(run), "--components", "own_code"]
    assert main(arguments) == 0
    page = (run / "diagnosis" / "diagnosis.md").read_text()
    for then, name in (({**sources, "own_code.other": "0" * 16}, "own_code.other"), (sources | {"<b>": ""}, "<b>")):
        seal(run, sources=then)
        shutil.rmtree(run / "diagnosis", ignore_errors=True)
        capsys.readouterr()
        assert main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{name} changed since the run" in line
        assert "--changed-sources" in line
        assert not (run / "diagnosis").exists()
        assert main([*arguments, "--changed-sources"]) == 0
        told = capsys.readouterr().out
        assert f"{html.escape(name)} changed since" in told
        now = (run / "diagnosis" / "diagnosis.md").read_text()
        assert set(page.splitlines()) < set(now.splitlines()), "the same otherwise"
