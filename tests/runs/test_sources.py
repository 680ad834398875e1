"""The user's own code and data belong to a run's identity: what has changed is never mixed with what was before."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, metrics, only_run, read, start

from rnnlab.report.reading import read as read_run
from rnnlab.runs.sources import of_modules

CLIPPING = """
from mine import base
from rnnlab.contract import component

@component
class Sign:
    def __call__(self, step):
        for gradient in step.gradients.values():
            gradient.sign_().mul_(base.SCALE)
        return step.norm_R > 0
"""
OWN = [*TINY, "components=[rnnlab,mine]", "clipping=sign", "--config-dir", "conf"]


@pytest.fixture
def mine(in_tmp_path):
    """A package of the user's own with a clipping rule that takes its number from another of its modules."""
    folder = in_tmp_path / "mine"
    (in_tmp_path / "conf" / "clipping").mkdir(parents=True)
    (in_tmp_path / "conf" / "clipping" / "sign.yaml").write_text("_target_: mine.sign.Sign\n")
    folder.mkdir()
    for name, text in {"__init__": "", "sign": CLIPPING, "base": "SCALE = 0.01\n", "other": "X = 1\n"}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def run(*arguments):
    """In a process of its own, which imports what is there now."""
    process = start(Path(), *OWN, *arguments)
    output, errors = process.communicate()
    return process.returncode, output, errors


def interrupted(*arguments):
    """The same, stopped after a few steps."""
    code = (
        "import sys; from rnnlab.training import run as session; from rnnlab.training.loop import train\n"
        "session.train = lambda *a, **k: train(*a, **{**k, 'interrupted': lambda: a[2].step >= 6})\n"
        "sys.path.append('.'); from rnnlab.cli import run_command_line; sys.exit(run_command_line(sys.argv[1:]))"
    )
    assert subprocess.run([sys.executable, "-c", code, *OWN, *arguments], check=False).returncode == 130


def test_an_edited_component_is_another_run_and_the_old_one_is_told(mine):
    assert run()[0] == 0
    first = only_run()
    before = metrics(first)
    assert set(read(first, "manifest.json")["sources"]) == {"mine", "mine.sign", "mine.base"}
    (mine / "other.py").write_text("X = 2\n")
    assert "finished already" in run()[1], "what a component does not import is none of its"
    (mine / "base.py").write_text("SCALE = 0.02\n")
    status, output, errors = run()
    assert status == 0, errors
    assert f"mine.base changed since {first} was finished" in output
    second = next(p for p in first.parent.iterdir() if p != first)
    assert metrics(first) == before
    assert metrics(second) != before
    assert read_run(first).config["sources"] != read_run(second).config["sources"]


def test_a_half_done_run_whose_code_has_changed_is_refused_with_the_two_ways_out(mine):
    interrupted()
    folder, source = only_run(), (mine / "sign.py").read_text()
    (mine / "sign.py").write_text(source.replace("base.SCALE", "2 * base.SCALE"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, _, errors = run()
    assert status == 1
    assert len(errors.strip().splitlines()) == 1
    for words in (str(folder), "mine.sign changed", "Undo the change", "force=true"):
        assert words in errors
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert only_run() == folder, "nothing was begun"
    (mine / "sign.py").write_text(source)
    assert "Going on from step" in run()[1]


def test_force_starts_anew_beside_the_half_done_run(mine):
    interrupted()
    folder = only_run()
    (mine / "base.py").write_text("SCALE = 0.5\n")
    status, _, errors = run("force=true")
    assert status == 0, errors
    assert {read(p, "manifest.json")["status"] for p in folder.parent.iterdir()} == {"interrupted", "finished"}
    assert "finished already" in run()[1], "the new one is there now"


def test_a_sweep_tells_of_changed_code_job_by_job(mine):
    interrupted("cell=rnn")
    (mine / "base.py").write_text("SCALE = 0.5\n")
    status, output, errors = run("-m", "cell=rnn,gru")
    assert status == 1, output + errors
    assert "mine.base changed" in " ".join(output.replace("│", " ").split())
    assert {read(p, "manifest.json")["status"] for p in Path("runs/default").iterdir()} == {"interrupted", "finished"}


def write_images(path, seed):
    draw = np.random.default_rng(seed)
    parts = {f"x_{split}": draw.integers(0, 256, (30, 3, 3), dtype=np.uint8) for split in ("train", "test")}
    np.savez(path, **parts, **{f"y_{split}": np.arange(30) % 10 for split in ("train", "test")})


def test_other_data_under_the_same_path_are_another_run(in_tmp_path):
    images = ["task=smnist", "task.source=images.npz", "task.batch=4", "steps=3", "evaluate.examples=9"]
    images += ["cell.hidden=4", "tensorboard=false", "task.solved_accuracy=1"]

    def told():
        process = start(in_tmp_path, *images)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return output

    write_images("images.npz", 0)
    told()
    assert "finished already" in told()
    write_images("images.npz", 1)
    assert "images.npz changed since" in told()
    assert len(list(Path("runs/default").iterdir())) == 2


def test_what_a_module_imports_of_its_package_is_found_however_it_is_written(tmp_path, monkeypatch):
    folder = tmp_path / "parcel"
    (folder / "deep").mkdir(parents=True)
    texts = {
        "__init__": "",
        "a": "from . import b\nfrom .deep import d\nimport json",
        "b": "import parcel.c",
        "c": "def f():\n    from parcel import e",
        "e": "from parcel import a",
        "deep/__init__": "from ..g import x",
        "deep/d": "from .. import nothing",
        "g": "x = 1",
        "unused": "",
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {"parcel", *(f"parcel.{name}" for name in ("a", "b", "c", "e", "deep", "deep.d", "g"))}
    assert set(of_modules(["parcel.a", "rnnlab.cells.rnn"])) == names
    assert len(set(of_modules(["parcel.unused"]).values())) == 1
