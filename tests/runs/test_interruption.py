"""kill -9, Ctrl-C, damaged checkpoints, full disks: nothing is lost but the time since the last checkpoint."""

import errno
import os
import random
import signal
import threading
import time
from itertools import count

import pytest
from helpers import TINY, canonical_files, forked, only_run, read, rnnlab, seal, start
from processes import GATED, Gate, finish, wait_until
from support import composed

import rnnlab.training.checkpoint as checkpoint_module
from rnnlab.interruption import SIGNALS, STOPS, listening
from rnnlab.runs.folder import RunFolder
from rnnlab.schema import validate
from rnnlab.training.run import run as train

LONG = [*GATED, *TINY, "steps=600", "checkpoint.every=20", "probe.every=50", "evaluate.every=40", "seeds=2"]
LONG += ["cell.hidden=16"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    Gate(folder)
    process = start(folder, *LONG)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    (run,) = (folder / "runs" / "default").iterdir()
    return run


def test_killed_again_and_again_the_run_ends_with_the_same_files(uninterrupted, tmp_path):
    """At any moment between its start and a step that it does not pass; the last time at that step."""
    run, gate = tmp_path / "runs" / "default" / uninterrupted.name, Gate(tmp_path)
    draw = random.Random(0)
    gate.close(140)
    for share in (0.01, 0.3, 0.6, 1.0):
        process = forked(tmp_path, *LONG)
        before = lines(run)
        wait_until(lambda more=before + share * 140: lines(run) >= more or gate.waiting())
        if share == 1:
            gate.wait_for(1, process)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.communicate()
        gate.close(140)
    assert not (run / "summary.json").exists()
    gate.open()
    process = forked(tmp_path, *LONG)
    output, errors = finish(process)
    assert process.returncode == 0, errors
    assert "Going on from step" in output
    assert canonical_files(run) == canonical_files(uninterrupted)
    assert read(run, "manifest.json")["status"] == "finished"


def lines(run):
    """Of a run's metrics, so far."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_asks_a_run_to_end_is_obeyed_with_a_checkpoint(number, uninterrupted, tmp_path):
    run, gate = tmp_path / "runs" / "default" / uninterrupted.name, Gate(tmp_path)
    gate.close(130)
    process = forked(tmp_path, *LONG)
    gate.wait_for(1, process)
    process.send_signal(number)
    stopping = process.stderr.readline() + process.stderr.readline()
    gate.open()
    _, errors = finish(process)
    assert process.returncode == 130, errors
    assert "Stopping after this step" in stopping
    assert "same command" in errors
    assert "Traceback" not in errors
    manifest = read(run, "manifest.json")
    assert manifest["status"] == "interrupted"
    assert manifest["sessions"][-1]["to_step"] == 130
    process = forked(tmp_path, *LONG)
    finish(process)
    assert process.returncode == 0
    assert canonical_files(run) == canonical_files(uninterrupted)


@pytest.fixture
def asked(capfd):
    """What `listening` says after some signals."""

    def ask(*numbers):
        with listening() as seen:
            assert not seen()
            for number in numbers:
                signal.raise_signal(number)
            return seen(), capfd.readouterr().err.count("Stopping")

    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield ask
    assert before == {number: signal.getsignal(number) for number in SIGNALS}


@pytest.mark.parametrize("number", sorted(SIGNALS))
def test_every_wish_to_stop_is_heard_and_answered_once(number, asked):
    assert asked(number) == (True, 1)
    for other in sorted(SIGNALS - STOPS):  # what a batch system sends before it ends a job is no second wish
        assert asked(other, number) == (True, 1)
        assert asked(number, other) == (True, 1)


@pytest.mark.parametrize("first", sorted(STOPS))
@pytest.mark.parametrize("second", sorted(STOPS))
def test_a_second_wish_is_obeyed_at_once(first, second, asked):
    for numbers in ((first, second), (signal.SIGHUP, first, second), (first, signal.SIGUSR1, second)):
        with pytest.raises(KeyboardInterrupt, match="twice"):
            asked(*numbers)


def test_nohup_is_meant(asked, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert asked(signal.SIGHUP) == (False, 0)
        assert asked(signal.SIGTERM) == (True, 1)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_costs_no_run(asked, monkeypatch):
    def gone(*arguments):
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr("rnnlab.interruption.os.write", gone)
    assert asked(signal.SIGHUP) == (True, 0)


STUCK = '''
import ctypes
from pathlib import Path
from rnnlab.contract import Count, component

@component
class Stuck:
    """Clips nothing. At one step it goes into C code, which lets other threads run and never comes back; once."""

    at: Count

    def __call__(self, step):
        calls = self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        if calls == self.at and not Path("stuck").exists():
            Path("stuck").touch()
            mutex, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            c.pthread_mutex_lock(mutex)
            c.pthread_mutex_lock(mutex)
        return step.norm_R < 0
'''
HASTY = (
    "import rnnlab.interruption as i; i.PATIENCE = i.GRACE = i.PROMPT = 0.05; from rnnlab.__main__ import main; main()"
)


def stuck(folder, at):
    """A run whose main thread is in C code from a step on, of a program with less patience."""
    (folder / "mine").mkdir()
    (folder / "conf" / "clipping").mkdir(parents=True)
    (folder / "mine" / "__init__.py").touch()
    (folder / "mine" / "stuck.py").write_text(STUCK)
    (folder / "conf" / "clipping" / "stuck.yaml").write_text("_target_: mine.stuck.Stuck\nat: 1\n")
    mine = ["--config-dir", "conf", *TINY, "components=[rnnlab,mine]", "clipping=stuck", f"clipping.at={at}"]
    process = forked(folder, *mine, program=["-c", HASTY])
    wait_until(lambda: (folder / "stuck").exists() or process.poll() is not None)
    assert process.poll() is None, finish(process)
    return process, mine


@pytest.mark.parametrize("number", sorted(SIGNALS))
def test_what_keeps_the_main_thread_busy_ends_with_the_first_wish_where_nothing_was_trained(number, tmp_path):
    process, _ = stuck(tmp_path, at=1)
    process.send_signal(number)
    output, errors = finish(process)
    assert process.returncode == 130, output + errors
    assert errors.split("\n")[1:] == [
        "Stopping after this step … (again: at once)",
        "rnnlab: Interrupted before anything was trained.",
        "",
    ]
    assert not (tmp_path / "runs").exists()


def test_what_keeps_the_main_thread_busy_ends_with_the_second_wish_where_something_was(tmp_path):
    process, command = stuck(tmp_path, at=6)
    process.send_signal(signal.SIGTERM)
    assert "Stopping" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    output, errors = finish(process)
    assert process.returncode == 130, output + errors
    assert errors == "rnnlab: Interrupted twice: stopped at once, without a new checkpoint.\n"
    (run,) = (tmp_path / "runs" / "default").iterdir()
    manifest = read(run, "manifest.json")
    assert (manifest["status"], manifest["reason"]) == ("interrupted", "stopped at once")
    process = forked(tmp_path, *command)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert "Going on from step 4" in output


def test_who_listens_within_another_hears_the_same_and_nothing_is_left_of_it(capfd):
    threads, wakeup = threading.active_count(), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with listening("the outer") as outer:
        with listening("the inner") as inner:
            signal.raise_signal(signal.SIGHUP)
        assert outer()
        assert inner()
    text = capfd.readouterr().err
    assert ("the inner" in text, "the outer" in text) == (True, False)
    assert signal.set_wakeup_fd(wakeup) == wakeup
    with listening() as anew:
        assert not anew()
    wait_until(lambda: threading.active_count() <= threads + 1)  # one waits until it would insist


def test_in_another_thread_nothing_is_heard_and_nothing_is_changed():
    before, heard = signal.getsignal(signal.SIGTERM), []

    def listen():
        with listening() as interrupted:
            heard.append((interrupted(), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [(False, True)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_signal_to_a_forked_process_is_not_taken_for_ours():
    with listening():
        pid = os.fork()
        if pid == 0:
            os._exit(signal.set_wakeup_fd(-1) != -1)
        assert os.waitpid(pid, 0)[1] == 0
        assert signal.set_wakeup_fd(-1) != -1


def test_a_second_process_on_the_same_folder_is_refused(tmp_path):
    gate = Gate(tmp_path)
    gate.close(1)
    process = forked(tmp_path, *LONG)
    try:
        gate.wait_for(1, process)
        second = forked(tmp_path, *LONG)
        _, errors = finish(second)
        assert second.returncode == 1
        assert "in use by another process" in errors
        assert str(process.pid) in errors
    finally:
        process.kill()
        process.communicate()


def stop_after(monkeypatch, saves):
    """Make the run fail, as a full disk would, when it writes its checkpoint number saves + 1."""
    real, count = checkpoint_module.write_atomically, [0]

    def write(path, content):
        count[0] += 1
        if count[0] > saves:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(checkpoint_module, "write_atomically", write)


def test_a_full_disk_is_told_and_the_last_checkpoint_serves(in_tmp_path, monkeypatch, capfd):
    assert rnnlab("name=whole") == 0
    with monkeypatch.context() as patch:
        stop_after(patch, saves=1)
        assert rnnlab() == 1
    errors = capfd.readouterr().err
    assert "No space left on device" in errors
    assert "step 4" in errors
    assert "Traceback" not in errors
    assert read(only_run(), "manifest.json")["status"] == "failed"
    assert rnnlab() == 0
    assert canonical_files(only_run()) == {**canonical_files(only_run("whole")), "config.yaml": config_of(only_run())}


def config_of(folder):
    """config.yaml names the run's name, which differs between the two."""
    return (folder / "config.yaml").read_bytes()


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_set_aside_and_the_one_before_used(damage, in_tmp_path, monkeypatch, capfd):
    assert rnnlab("name=whole") == 0
    with monkeypatch.context() as patch:
        stop_after(patch, saves=2)
        assert rnnlab() == 1
    folder = only_run()
    newest = max((folder / "checkpoint").glob("step-*.pt"))
    content = bytearray(newest.read_bytes())
    if damage == "torn":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content.clear()
    newest.write_bytes(content)
    assert rnnlab() == 0
    captured = capfd.readouterr()
    assert newest.name in captured.err
    assert "set aside" in captured.err
    assert "Going on from step 4" in captured.out
    assert (folder / "checkpoint" / (newest.name + ".damaged")).exists()
    assert (folder / "metrics.jsonl").read_bytes() == (only_run("whole") / "metrics.jsonl").read_bytes()


def test_all_checkpoints_damaged_starts_again(in_tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        stop_after(patch, saves=1)
        assert rnnlab() == 1
    for path in (only_run() / "checkpoint").glob("step-*.pt"):
        path.write_bytes(b"nothing")
    assert rnnlab() == 0
    assert "damaged" in capfd.readouterr().err
    assert read(only_run(), "summary.json")["seeds"][0]["steps"] == 12


def test_loading_a_checkpoint_executes_no_code(in_tmp_path):
    """A pickle that would run a command is refused as damaged, even under a name with the right checksum."""
    import hashlib
    import io
    from pathlib import Path

    import torch

    class Evil:
        def __reduce__(self):
            return (Path.touch, (Path("ran"),))

    buffer = io.BytesIO()
    torch.save({"population": Evil()}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    folder = Path("checkpoint")
    folder.mkdir()
    (folder / f"step-00000001-{digest}.pt").write_bytes(buffer.getvalue())
    warnings = []
    assert checkpoint_module.look(folder, "a", warnings.append) is None
    assert len(warnings) == 1
    assert not Path("ran").exists()


def test_the_run_folder_cannot_be_made(in_tmp_path, capfd):
    (in_tmp_path / "runs").write_text("a file where the folder should be")
    assert rnnlab() == 1
    errors = capfd.readouterr().err
    assert "cannot be made" in errors
    assert "Traceback" not in errors


def test_the_lock_is_released(in_tmp_path):
    folder = RunFolder(in_tmp_path / "x")
    for _ in range(2):
        with folder.locked():
            pass


def test_force_goes_on_with_an_interrupted_run(uninterrupted, tmp_path):
    """The same command goes on, also when it has force=true; only a finished run is cleared."""
    run, gate = tmp_path / "runs" / "default" / uninterrupted.name, Gate(tmp_path)
    gate.close(50)
    process = forked(tmp_path, *LONG, "force=true")
    gate.wait_for(1, process)
    process.kill()
    process.communicate()
    gate.open()
    process = forked(tmp_path, *LONG, "force=true")
    output, errors = finish(process)
    assert process.returncode == 0, errors
    assert "Going on from step 40" in output
    assert canonical_files(run) == canonical_files(uninterrupted)


def test_an_interruption_between_checkpoints_leaves_no_trace(in_tmp_path):
    """The checkpoint that Ctrl-C makes at an odd step does not displace a regular one."""
    slow = [*TINY, "task.length=60", "steps=90", "checkpoint.every=40", "checkpoint.keep=2"]
    train(validate(composed(*slow, "name=whole")))
    whole = canonical_files(only_run("whole"))["checkpoints"]
    config = validate(composed(*slow))
    for steps in (57, 20):
        asked = count()
        with pytest.raises(KeyboardInterrupt, match="checkpoint is written"):
            train(config, lambda steps=steps, asked=asked: next(asked) >= steps)
    train(config)
    assert canonical_files(only_run())["checkpoints"] == whole


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("rnnlab.cli", 20),
        ("rnnlab.cli", 50),
        ("numpy", 0),
        ("torch._C", 0),
        ("torch", 0),
        ("rnnlab.training.run", 0),
    ],
)
def test_ctrl_c_during_start_up(module, more, tmp_path):
    """No traceback, status 130. When so many imports follow that of a module."""
    process = start(tmp_path, *TINY, "steps=1000000000", environment={"PYTHONPROFILEIMPORTTIME": "1"})
    imports = iter(process.stderr.readline, "")
    assert any(line.rstrip().endswith(f" {module}") for line in imports), f"{module} is not imported"
    for _ in range(more):
        next(imports)
    process.send_signal(signal.SIGINT)
    _, rest = finish(process)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest


def test_a_run_that_was_solved_at_once_and_died_before_its_end(in_tmp_path):
    assert rnnlab("task.solved_mse=100") == 0
    folder = only_run()
    manifest = read(folder, "manifest.json")
    RunFolder(folder).write_manifest({**manifest, "status": "running"})
    (folder / "summary.json").unlink()
    assert rnnlab("task.solved_mse=100") == 0
    assert read(folder, "summary.json")["seeds"][0]["status"] == "solved"


def test_damaged_adjoints_are_written_again(in_tmp_path, monkeypatch):
    assert rnnlab("name=whole") == 0
    with monkeypatch.context() as patch:
        stop_after(patch, saves=1)
        assert rnnlab() == 1
    (only_run() / "adjoints.npz").write_bytes(b"PK")
    assert rnnlab() == 0
    assert (only_run() / "adjoints.npz").read_bytes() == (only_run("whole") / "adjoints.npz").read_bytes()


def test_adjoints_damaged_after_the_last_checkpoint_are_written_again(in_tmp_path):
    assert rnnlab() == 0
    folder = only_run()
    whole = (folder / "adjoints.npz").read_bytes()
    seal(folder, status="running")
    (folder / "adjoints.npz").write_bytes(b"PK")
    assert rnnlab() == 0
    assert (folder / "adjoints.npz").read_bytes() == whole
