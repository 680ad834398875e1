"""Which engine a run takes: fused where it serves, never in silence when not, and a run id that tells results apart."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, metrics, only_run, read, rnnlab
from support import composed, drawn_cell
from synthetic_runs import write_run

from rnnlab.adjoints.none import NoRule
from rnnlab.bptt.engine import LOST, LOST_FOR_A_COMPILER, choose
from rnnlab.bptt.fused import operators
from rnnlab.bptt.fused.compiler import KernelUnavailable, NoCompiler
from rnnlab.bptt.fused.library import load
from rnnlab.bptt.fused.precision import PRECISIONS
from rnnlab.bptt.unroll import unroll
from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.identity import run_id
from rnnlab.schema import validate


class OwnRule(NoRule):
    """A rule that the fused engine cannot know."""


@pytest.fixture
def said():
    return []


@pytest.fixture
def taken(said):
    """`choose` for an LSTM, with what it says kept."""
    defaults = {
        "cell": drawn_cell("lstm"),
        "rule": NoRule(),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "threads": 2,
        "recompute": 0,
        "precision": "ieee",
        "say": said.append,
    }
    return lambda requested, **changes: choose(requested, **{**defaults, **changes})


@pytest.fixture
def kernel(monkeypatch):
    """As if there were a kernel; the test looks at the choice alone."""
    monkeypatch.setattr(operators, "kernel", lambda say: None)


@pytest.fixture
def no_kernel(monkeypatch):
    def refuse(say):
        raise NoCompiler("no C++ compiler was found (CXX, c++, g++, clang++)")

    monkeypatch.setattr(operators, "kernel", refuse)


@pytest.mark.parametrize("requested", ["auto", "fused"])
def test_fused_is_taken_where_it_serves(requested, taken, kernel, said):
    engine = taken(requested, threads=3, recompute=5)
    assert (engine.name, engine.threads) == ("fused", 3)
    assert isinstance(engine.unroll, functools.partial)
    assert engine.unroll.keywords == {"threads": 3, "recompute": 5}
    assert said == []


def test_autograd_is_taken_when_asked_for_and_asks_for_no_kernel(taken, monkeypatch):
    monkeypatch.setattr(operators, "kernel", pytest.fail)
    engine = taken("autograd")
    assert (engine.name, engine.threads, engine.unroll) == ("autograd", 1, unroll)


def test_auto_says_why_not_and_builds_nothing_then(taken, monkeypatch, said):
    monkeypatch.setattr(operators, "kernel", pytest.fail)
    engine = taken("auto", rule=OwnRule())
    assert (engine.name, engine.threads) == ("autograd", 1)
    assert "OwnRule" in engine.why
    assert "mps" in taken("auto", device=torch.device("mps")).why
    assert "float16" in taken("auto", dtype=torch.float16).why
    assert said == []


def test_auto_without_a_kernel_says_in_one_line_what_is_lost(taken, no_kernel, said):
    engine = taken("auto")
    assert (engine.name, engine.threads) == ("autograd", 1)
    assert "no C++ compiler was found" in engine.why
    (line,) = said
    assert line == f"There is no CPU kernel: no C++ compiler was found (CXX, c++, g++, clang++). {LOST_FOR_A_COMPILER}"
    assert "with a C++ compiler" in line


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [("CXX", "no-such-compiler", "is no compiler"), ("RNNLAB_KERNEL", "no-such-file", "is no file")],
)
def test_a_compiler_is_advised_only_where_none_was_found(variable, value, reason, taken, said, monkeypatch):
    monkeypatch.setattr(operators, "kernel", load)
    monkeypatch.setenv("RNNLAB_CACHE", "/no/such/folder")
    monkeypatch.delenv("RNNLAB_KERNEL", raising=False)
    monkeypatch.setenv(variable, value)
    assert taken("auto").name == "autograd"
    (line,) = said
    assert reason in line
    assert line.endswith(LOST)
    assert "with a C++ compiler" not in line
    assert "about 3 to 10 times" in line


def test_fused_that_cannot_be_had_is_refused_with_the_reason(taken, no_kernel):
    with pytest.raises(ConfigError, match=r"^engine=fused: not allowed.*no C\+\+ compiler.*Allowed: auto, autograd\.$"):
        taken("fused")
    with pytest.raises(ConfigError, match=r"^engine=fused: not allowed.*OwnRule.*Allowed: auto, autograd\.$"):
        taken("fused", rule=OwnRule())


def test_recompute_is_refused_wherever_autograd_is_used(taken, no_kernel):
    for requested, reason in (("auto", "no C++ compiler"), ("autograd", "asked for")):
        with pytest.raises(ConfigError, match=r"^recompute=4: not allowed") as caught:
            taken(requested, recompute=4)
        assert reason in str(caught.value)
        assert "llowed: 0." in str(caught.value)


def test_threads_are_those_given_or_those_torch_would_use(kernel):
    for override, expected in (("threads=auto", 7), ("threads=3", 3)):
        experiment = build(validate(composed("engine=fused", override)), threads=7)
        assert experiment.engine.threads == expected
    assert build(validate(composed("engine=fused"))).engine.threads == torch.get_num_threads()


def test_every_run_of_a_process_is_given_torchs_threads_and_leaves_them(in_tmp_path, kernel, monkeypatch):
    seen = []

    def stop(config, *, say, threads):
        seen.append((threads, torch.get_num_threads()))
        raise ConfigError("enough")

    monkeypatch.setattr("rnnlab.training.run.build", stop)
    torch.set_num_threads(2)
    try:
        assert rnnlab() == rnnlab() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [(2, 1), (2, 1)]


@pytest.mark.parametrize("requested", ["auto", "fused", "autograd"])
def test_a_precision_is_refused_where_nothing_would_follow_it(taken, requested):
    with pytest.raises(ConfigError, match=r"^precision=tf32: not allowed here\. .* Allowed: ieee\.$"):
        taken(requested, precision="tf32")


def test_threads_and_recompute_are_not_part_of_the_identity_and_the_engine_is():
    def identity(*overrides, engine="fused"):
        return run_id(validate(composed(*overrides)), device="cpu", engine=engine, sources={})

    assert identity() == identity("threads=5") == identity("recompute=10") == identity("engine=fused")
    assert identity(engine="autograd") != identity()


def test_each_precision_is_a_run_of_its_own_and_the_default_is_ieee():
    assert validate(composed()).precision == "ieee"
    ids = {run_id(validate(composed(f"precision={p}")), device="cuda", engine="fused", sources={}) for p in PRECISIONS}
    assert len(ids) == len(PRECISIONS)


def test_console_and_manifest_say_which_engine_and_why(in_tmp_path, no_kernel, capfd):
    assert rnnlab("engine=autograd", "name=asked", "steps=2") == 0
    assert "engine autograd on 1 thread(s): it was asked for" in capfd.readouterr().out
    assert rnnlab("name=fallen", "steps=2", "threads=2") == 0
    shown = capfd.readouterr().out
    assert shown.count(LOST_FOR_A_COMPILER) == 1
    assert "engine autograd on 1 thread(s): the fused engine cannot be had: there is no CPU kernel" in shown
    manifest = read(only_run("fallen"), "manifest.json")
    assert (manifest["engine"], manifest["threads"]) == ("autograd", 1)
    assert "no C++ compiler was found" in manifest["engine_because"]
    assert only_run("fallen").name == only_run("asked").name


def test_a_run_by_the_fused_engine_says_so_and_threads_and_recompute_change_none_of_its_files(in_tmp_path, capfd):
    try:
        operators.kernel(lambda text: None)
    except KernelUnavailable as error:
        pytest.skip(str(error))
    assert rnnlab("engine=fused", "name=a", "threads=1") == 0
    assert "engine fused on 1 thread(s): it was asked for" in capfd.readouterr().out
    assert rnnlab("engine=auto", "name=b", "threads=2", "recompute=3") == 0
    assert "engine fused on 2 thread(s): it serves" in capfd.readouterr().out
    assert rnnlab("engine=autograd", "name=c") == 0
    a, b, c = (only_run(name) for name in "abc")
    assert (read(b, "manifest.json")["engine"], read(b, "manifest.json")["threads"]) == ("fused", 2)
    assert a.name == b.name != c.name
    for name in ("metrics.jsonl", "adjoints.npz"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    losses = [[row["loss"] for row in metrics(folder)] for folder in (a, c)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def other_runs(out: str) -> list[str]:
    return [line for line in out.splitlines() if "the same configuration" in line]


def test_a_run_that_auto_starts_anew_by_another_engine_is_told_of_the_one_that_is_there(in_tmp_path, no_kernel, capfd):
    config = validate(composed(*TINY, "name=there"))
    other = RunFolder(Path("runs", "there", run_id(config, device="cpu", engine="fused", sources={})))
    write_run(other.path, seeds=[0], rng=np.random.default_rng(0), status="interrupted")
    assert rnnlab("name=there", "engine=autograd", "seeds=[9]") == 0  # another configuration
    assert rnnlab("name=elsewhere") == 0
    assert other_runs(capfd.readouterr().out) == []
    assert rnnlab("name=there") == 0
    (line,) = other_runs(capfd.readouterr().out)
    assert line == (
        f"{other.path} is a run of the same configuration by the fused engine (interrupted). engine=fused goes on with "
        "it; this one, by the autograd engine, starts from nothing."
    )
    assert rnnlab("name=there") == 0  # its own folder is there now
    assert other_runs(capfd.readouterr().out) == []


def test_who_names_the_engine_is_not_told_of_runs_by_others(in_tmp_path, no_kernel, capfd):
    other = RunFolder(
        Path("runs", "there", run_id(validate(composed(*TINY)), device="cpu", engine="fused", sources={}))
    )
    write_run(other.path, seeds=[0], rng=np.random.default_rng(0), status="interrupted")
    assert rnnlab("name=there", "engine=autograd") == 0
    assert other_runs(capfd.readouterr().out) == []


REFUSED = {
    "fused without a compiler": (["engine=fused"], "engine=fused: not allowed here"),
    "recompute without a compiler": (["recompute=2"], "recompute=2: not allowed here"),
}


@pytest.mark.parametrize(("arguments", "start"), REFUSED.values(), ids=REFUSED.keys())
def test_without_a_compiler_a_refusal_is_exit_status_2_and_one_message(arguments, start, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rnnlab", *TINY, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CXX": "no-such-compiler", "RNNLAB_CACHE": str(tmp_path / "cache"), "RNNLAB_KERNEL": ""},
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rnnlab: {start}")
    assert "CXX=no-such-compiler" in line
    assert list(tmp_path.iterdir()) == []
