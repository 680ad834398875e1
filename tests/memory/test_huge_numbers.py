"""A number that cannot be is refused by name, before anything is allocated or written."""

import functools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import TINY, canonical_files, forked, only_run, read, rnnlab
from support import composed

import rnnlab.memory.available as available_module
from rnnlab.build import build
from rnnlab.cells.rnn import RNN
from rnnlab.contract import ConfigError, without_stack
from rnnlab.memory.available import Room, available
from rnnlab.memory.lack import lacks_memory
from rnnlab.schema import validate
from rnnlab.sweep.job import Job
from rnnlab.sweep.sweep import _crowded
from rnnlab.training.population import Population

HERE = Path(__file__).parent
GIGABYTES = 3


def test_every_number_of_every_configuration_is_refused_or_harmless(in_tmp_path):
    """In a process of its own, which a mistake would end: it may have so many gigabytes and no more."""
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "every_number.py"), str(GIGABYTES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": paths})
    counted = re.fullmatch(r"(\d+) refused, (\d+) harmless\n", done.stdout)
    assert counted, done.stdout + done.stderr
    assert int(counted[1]) > 300
    assert int(counted[2]) > 100


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(validate(composed(*overrides)))
    return str(caught.value)


@pytest.fixture
def machine(monkeypatch):
    """One with 24 GB."""
    monkeypatch.setattr("rnnlab.build.available", lambda device: Room(24 * 10**9, "this machine has", 23 * 10**9))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["cell.hidden=100000"], ["cell.hidden=100000: not allowed here", "480 GB", "has 24 GB"]),
        (["evaluate.examples=1e11"], ["evaluate.examples=100000000000: not", "held-out examples", "80.4 TB"]),
        (["task.length=1e8"], ["task.length=100000000: not", "states kept", "15.4 TB"]),
        (["seeds=100000"], ["seeds=100000: not", "1.54 TB"]),
        (["task.examples=1e12"], ["task.examples=1000000000000: not", "fixed sets"]),
        (["task.batch=1e12"], ["task.batch=1000000000000: not"]),
        (["task=copy", "task.symbols=1e12"], ["task.symbols=1000000000000: not"]),
        (["parametrisation=householder", "parametrisation.pairs=1e12"], ["parametrisation.pairs=1000000000000: not"]),
        (["cell=lem", "task.length=1e15"], ["task.length=1000000000000000: not"]),
        (["cell.hidden=9e15"], ["cell.hidden=9000000000000000: not", "over 1000 EB"]),
    ],
)
def test_the_number_to_blame_is_named_with_what_it_takes_what_there_is_and_what_would_fit(overrides, words, machine):
    said = refusal(*overrides)
    assert all(word in said for word in words), said
    assert "\n" not in said
    key, fits = said.partition("=")[0], re.search(r"about (\d+) would fit", said)
    assert fits
    kept = [o for o in overrides if not o.startswith(f"{key}=")]
    assert build(validate(composed(*kept, f"{key}={fits[1]}", "probes=none"))).memory.fits
    assert f"{key}={2 * int(fits[1])}: not allowed here" in refusal(*kept, f"{key}={2 * int(fits[1])}")


def test_where_no_number_alone_is_to_blame_all_are_named(machine):
    said = refusal("cell.hidden=1e7", "task.length=1e10")
    assert said.startswith("task.length=10000000000, cell.hidden=10000000")
    assert "would fit" not in said


def test_a_match_of_parameters_is_counted_without_making_them(machine, monkeypatch):
    made = []
    original = RNN.__init__

    @functools.wraps(original)
    def counting(self, *, hidden, **context):
        original(self, hidden=hidden, **context)
        made.append((hidden, self.bias.device.type))

    monkeypatch.setattr(RNN, "__init__", counting)
    said = refusal("cell=rnn", "match_parameters=100000000000")
    assert said.startswith("match_parameters=100000000000, which takes cell.hidden=316226: not allowed here.")
    assert max(hidden for hidden, device in made if device != "meta") < 1000


def test_what_comes_to_be_as_a_run_goes_on_is_told_and_not_refused():
    memory = build(validate(composed("task.length=1000", "steps=1e9", "probe.every=1"))).memory
    assert memory.fits
    assert "16 TB more by its last step for the adjoint norms (probe.every): more than there is" in str(memory)
    assert "adjoint" not in str(build(validate(composed("probe.every=100"))).memory)


def test_a_run_says_what_it_needs(in_tmp_path, capfd):
    assert rnnlab() == 0
    assert re.search(r"^needs about \d+(\.\d+)? kB of \d+(\.\d+)? GB$", capfd.readouterr().out, re.MULTILINE)


def fail_at(monkeypatch, step: int, error: Exception) -> None:
    steps = iter(range(1, 1000))
    update = Population.step

    def failing(self, *given):
        if next(steps) == step:
            raise error
        return update(self, *given)

    monkeypatch.setattr(Population, "step", failing)


TORCH = "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."
STACK = f"{TORCH}\nException raised from alloc_cpu at alloc_cpu.cpp:119\nframe #0: a\nframe #1: b"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(STACK), RuntimeError("CUDA out of memory.")])
def test_an_allocation_that_fails_before_the_first_checkpoint_leaves_nothing(error, in_tmp_path, monkeypatch, capfd):
    fail_at(monkeypatch, 2, error)
    assert rnnlab() == 2
    said = capfd.readouterr().err
    assert "Not enough memory for these sizes (the " in said
    assert said.count("\n") == 1
    assert not any(word in said for word in ("frame #", "Traceback", "Exception raised"))
    assert not list(in_tmp_path.iterdir())


def test_one_that_fails_after_a_checkpoint_loses_nothing(in_tmp_path, monkeypatch, capfd):
    assert rnnlab("name=whole") == 0
    with monkeypatch.context() as patch:
        fail_at(patch, 6, RuntimeError(STACK))
        assert rnnlab() == 1
    assert "The last checkpoint is that of step 4" in capfd.readouterr().err
    assert read(only_run(), "manifest.json")["status"] == "failed"
    assert rnnlab() == 0
    whole, ours = canonical_files(only_run("whole")), canonical_files(only_run())
    assert ours | {"config.yaml": b""} == whole | {"config.yaml": b""}


def test_a_lack_of_memory_before_a_run_has_a_folder(in_tmp_path, monkeypatch, capfd):
    def failing(*given):
        raise MemoryError("the fused engine's kernel")

    monkeypatch.setattr("rnnlab.training.run.beginning", failing)
    assert rnnlab() == 2
    assert "Not enough memory for these sizes" in capfd.readouterr().err
    assert not list(in_tmp_path.iterdir())


def test_jobs_that_together_need_more_than_there_is_are_told_and_not_refused(monkeypatch):
    monkeypatch.setattr("rnnlab.sweep.sweep.available", lambda device: Room(10**9, "this machine has", 9 * 10**8))
    jobs = [Job(number, (), memory=memory) for number, memory in enumerate((10**8, 5 * 10**8, 3 * 10**8, 2 * 10**8))]
    assert _crowded(jobs, 2) == ""
    assert _crowded(jobs, 4) == (
        "4 jobs at a time may need 1.1 GB together, this machine has 1 GB: hydra.launcher.jobs=2 would fit."
    )


def test_other_errors_are_no_lack_of_memory():
    assert lacks_memory(RuntimeError("value cannot be converted to type float without overflow")) == ""
    assert lacks_memory(ValueError("out of memory")) == ""
    assert without_stack(RuntimeError(STACK)) == TORCH


def test_a_step_that_its_dtype_cannot_hold_diverges(in_tmp_path):
    """Torch refuses to compute with such a number; other optimisers' weights become infinite."""
    assert rnnlab("optimiser=adamax", "optimiser.lr=1e38", "seeds=2") == 0
    assert [seed["status"] for seed in read(only_run(), "summary.json")["seeds"]] == ["diverged"] * 2


@pytest.fixture
def groups(tmp_path):
    """Control groups of both versions, as a container and a batch system make them."""

    def make(lines: str, **limits: str) -> list[int]:
        (tmp_path / "cgroup").write_text(lines)
        for path, text in limits.items():
            file = tmp_path / "fs" / path.replace("__", "/").replace("MAX", "memory.max")
            file = file.with_name(file.name.replace("LIMIT", "memory.limit_in_bytes"))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return sorted(available_module._group_limits(tmp_path / "fs", tmp_path / "cgroup"))

    return make


def test_limits_of_control_groups(groups):
    assert groups("0::/a/b\n", a__b__MAX="max\n", a__MAX="5000\n", MAX="9000\n") == [5000, 9000]
    assert groups("0::/not/here\n") == [9000], "in a container the path is that outside of it"


def test_limits_of_control_groups_of_version_1(groups):
    assert groups("3:cpu:/a\n4:memory:/a\n", memory__a__LIMIT="7000\n", cpu__a__LIMIT="1") == [7000]


def test_without_control_groups_there_is_the_machine(tmp_path, monkeypatch):
    assert list(available_module._group_limits(tmp_path, tmp_path / "none")) == []
    assert 0 < available("cpu").left < available("cpu").bytes
    monkeypatch.setattr(available_module, "_limits", lambda: iter([10**9]))
    room = available("cpu")
    assert (room.bytes, room.whose) == (10**9, "this process may have")


def test_sigterm_is_obeyed_while_the_held_out_examples_are_drawn(tmp_path):
    process = forked(tmp_path, *TINY, "evaluate.examples=3e7")
    deadline = time.monotonic() + 120
    assert process.stdout
    for line in process.stdout:
        if "needs about" in line or time.monotonic() > deadline:
            break
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "before anything was trained" in errors
    assert not list(tmp_path.iterdir())
