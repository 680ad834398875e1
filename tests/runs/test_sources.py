"""The user's own code and data belong to a run's identity: what has changed is never mixed with what was before."""

import hashlib
import importlib
import os
import py_compile
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, forked, metrics, only_run, read

from rnnlab.own_code import import_as_written
from rnnlab.report.reading import read as read_run
from rnnlab.runs.sources import of_modules
from rnnlab.source import definition

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
    process = forked(Path(), *OWN, *arguments)
    output, errors = process.communicate()
    return process.returncode, output, errors


def interrupted(*arguments):
    """The same, stopped after a few steps."""
    code = (
        "import sys; from rnnlab.training import session; from rnnlab.training.loop import train\n"
        "session.train = lambda *a, **k: train(*a, **{**k, 'interrupted': lambda: a[2].step >= 6})\n"
        "sys.path.append('.'); from rnnlab.cli import run_command_line; sys.exit(run_command_line(sys.argv[1:]))"
    )
    process = forked(Path(), *OWN, *arguments, program=("-c", code))
    _, errors = process.communicate()
    assert process.returncode == 130, errors


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


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_half_done_run_that_has_lost_its_manifest_is_not_begun_anew_in_silence(lost, mine):
    interrupted()
    folder, source = only_run(), (mine / "base.py").read_text()
    manifest = folder / "manifest.json"
    manifest.write_text("{") if lost == "damaged" else manifest.unlink()
    (mine / "base.py").write_text("SCALE = 0.5\n")
    status, _, errors = run()
    assert (status, len(errors.strip().splitlines())) == (1, 1)
    for words in (str(folder), "no manifest that can be read", "Undo the change", "force=true"):
        assert words in errors
    assert only_run() == folder
    assert run("optimiser.lr=0.02")[0] == 0, "of another configuration"
    assert run("force=true")[0] == 0
    (mine / "base.py").write_text(source)
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
        process = forked(in_tmp_path, *images)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return output

    write_images("images.npz", 0)
    told()
    assert "finished already" in told()
    write_images("images.npz", 1)
    assert "images.npz changed since" in told()
    assert len(list(Path("runs/default").iterdir())) == 2


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes modules by path, below a folder that is searched for them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        importlib.invalidate_caches()
        return tmp_path

    yield write
    for name, module in [*sys.modules.items()]:
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_what_a_module_imports_of_its_package_is_found_however_it_is_written(written):
    texts = {
        "__init__": "",
        "a": "from . import b\nfrom .deep import d\nimport json",
        "b": "import parcel.c",
        "c": "def f():\n    from parcel import e",
        "e": "from parcel import a\nimportlib.import_module('parcel.h')\nimport_module('.i', __package__)",
        "deep/__init__": "from ..g import x",
        "deep/d": "from .. import nothing",
        "g": "x = 1\nif x:\n    import parcel.plain.j as j\nelse:\n    from .k import *",
        "h": "from .. import beyond\nfrom ...far import beyond",
        "i": "",
        "plain/j": "",
        "k": "",
        "unused": "",
    }
    written(**{f"parcel/{name}": text for name, text in texts.items()})
    of_parcel = ("a", "b", "c", "e", "deep", "deep.d", "g", "h", "i", "plain.j", "k")
    assert set(of_modules(["parcel.a", "rnnlab.cells.rnn"])) == {"parcel", *(f"parcel.{name}" for name in of_parcel)}
    assert len(set(of_modules(["parcel.unused"]).values())) == 1


def test_the_neighbours_of_a_module_and_other_packages_of_the_user_s_are_his_too(written, tmp_path, monkeypatch):
    folder = written(
        act="import helper, space.x, torch, installed_a, installed_b",
        helper="from pack import y\nimport act",
        **{"pack/__init__": "", "pack/y": "import act", "space/x": "", "unused": ""},
        **{"site-packages/installed_a": "import installed_c", "site-packages/installed_b": "import installed_a"},
        **{"site-packages/installed_c": ""},
    )
    monkeypatch.syspath_prepend(str(folder / "site-packages"))
    own = {"act", "helper", "pack", "pack.y", "space.x"}
    assert set(of_modules(["act"])) == set(of_modules(["pack.y"])) == own
    assert set(of_modules(["act"], ["rnnlab", "installed_b"])) == own | {"installed_b"}
    assert set(of_modules(["installed_b"])) == {"installed_b"}, "what is installed beside it is not the user's own"


BAD = {
    "does not end": "raise SystemExit(3)\nopen('pwned', 'w')",
    "no Python": "print('executed')\nthis is none",
    "null bytes": b"x = 1\0",
    "other bytes": b"x = '\xff'",
    "too deep": "(" * 100_000,
    "warned of": "x = '\\d' is 1",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_looking_for_sources_imports_nothing_and_a_file_that_is_no_python_counts_as_it_is(bad, written, in_tmp_path):
    written(
        **{"parcel/__init__": "import parcel.bad", "parcel/bad": bad, "parcel/deep/__init__": bad, "parcel/deep/e": ""},
        a="if TYPE_CHECKING:\n    import parcel.bad\ndef f():\n    from parcel.deep.e import x",
    )
    before = set(sys.modules)
    assert set(of_modules(["a"])) == {"a", "parcel", "parcel.bad", "parcel.deep", "parcel.deep.e"}
    assert definition("parcel.bad.X") is None
    assert set(sys.modules) == before
    assert not Path("pwned").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-7"])
def test_a_source_has_the_encoding_that_it_declares(encoding, written):
    declared = "" if encoding == "utf-8-sig" else f"# -*- coding: {encoding} -*-\n"
    text = f"{declared}import parcel.b\nclass Ä:\n    'é'\n"
    written(**{"parcel/__init__": "", "parcel/a": text.encode(encoding), "parcel/b": ""})
    assert definition("parcel.a.Ä") is not None
    assert set(of_modules(["parcel.a"])) == {"parcel", "parcel.a", "parcel.b"}


def test_what_runs_is_the_source_whose_hash_counts_whatever_was_compiled_before(written):
    """By another module and in a function too, which is imported when the source has changed again."""
    folder = written(act="import helper\ndef late():\n    import pack.y\n    return pack.y.X", helper="X = 1")
    written(**{"pack/__init__": "", "pack/y": "X = 1"})
    for path in (folder / "helper.py", folder / "pack" / "y.py"):
        py_compile.compile(str(path))
        stamp = path.stat()
        path.write_text("X = 2")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    compiled = {path: path.read_bytes() for path in folder.rglob("*.pyc")}
    import_as_written(["rnnlab", "act"])
    act = importlib.import_module("act")
    hashes = of_modules(["act"])
    assert set(hashes) == {"act", "helper", "pack", "pack.y"}
    assert act.helper.X == 2
    (folder / "pack" / "y.py").write_text("X = 3")
    assert act.late() == 2
    assert of_modules(["act"]) == hashes
    assert {path: path.read_bytes() for path in folder.rglob("*.pyc")} == compiled
    assert importlib.import_module("decimal").__cached__, "only the user's own modules"


def test_what_is_no_source_counts_as_it_is(written):
    """A module that has been compiled alone, and one in C, which Python prefers to a source beside it."""
    folder = written(act="import alone, fast", alone="X = 1", fast="import alone")
    py_compile.compile(str(folder / "alone.py"), cfile=str(folder / "alone.pyc"))
    (folder / "alone.py").unlink()
    (folder / f"fast{EXTENSION_SUFFIXES[0]}").write_bytes(b"in C")
    importlib.invalidate_caches()
    assert of_modules(["act"])["fast"] == hashlib.sha256(b"in C").hexdigest()[:16]
    assert set(of_modules(["act"])) == {"act", "alone", "fast"}


def test_a_source_may_be_a_link(written, tmp_path_factory):
    folder, elsewhere = written(helper="X = 1"), tmp_path_factory.mktemp("elsewhere") / "act.py"
    elsewhere.write_text("import helper")
    (folder / "act.py").symlink_to(elsewhere)
    importlib.invalidate_caches()
    assert set(of_modules(["act"])) == {"act", "helper"}
