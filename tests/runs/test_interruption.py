"""kill -9, Ctrl-C, damaged checkpoints, full disks: nothing is lost but the time since the last checkpoint."""

import errno
import os
import random
import signal
import threading
import time

import pytest
from helpers import TINY, canonical_files, only_run, read, rnnlab, seal, start

import rnnlab.training.checkpoint as checkpoint_module
from rnnlab.cli import run_command_line
from rnnlab.runs.folder import RunFolder

LONG = [*TINY, "steps=600", "checkpoint.every=20", "probe.every=50", "evaluate.every=40", "seeds=2", "cell.hidden=16"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(folder, *LONG)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (run,) = (folder / "runs" / "default").iterdir()
    return run


def wait_for_lines(path, lines, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)


def test_killed_again_and_again_the_run_ends_with_the_same_files(uninterrupted, tmp_path):
    run = tmp_path / "runs" / "default" / uninterrupted.name
    draw = random.Random(0)
    total = (uninterrupted / "metrics.jsonl").read_bytes().count(b"\n")
    for share in (0.01, 0.3, 0.5, 0.7):
        process = start(tmp_path, *LONG)
        wait_for_lines(run / "metrics.jsonl", int(share * total), process)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.communicate()
    assert not (run / "summary.json").exists()
    process = start(tmp_path, *LONG)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Going on from step" in output
    assert canonical_files(run) == canonical_files(uninterrupted)
    assert read(run, "manifest.json")["status"] == "finished"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_says_how_to_go_on_and_exits_130(number, uninterrupted, tmp_path):
    process = start(tmp_path, *LONG)
    run = tmp_path / "runs" / "default" / uninterrupted.name
    wait_for_lines(run / "metrics.jsonl", 60, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "same command" in errors
    assert "Traceback" not in errors
    assert read(run, "manifest.json")["status"] == "interrupted"
    process = start(tmp_path, *LONG)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert canonical_files(run) == canonical_files(uninterrupted)


def test_a_second_process_on_the_same_folder_is_refused(uninterrupted, tmp_path):
    process = start(tmp_path, *LONG, "steps=100000", "stop_when_solved=false")
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/default/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        second = start(tmp_path, *LONG, "steps=100000", "stop_when_solved=false")
        _, errors = second.communicate(timeout=60)
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
    assert checkpoint_module.look(folder, warnings.append) is None
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
    process = start(tmp_path, *LONG, "force=true")
    run = tmp_path / "runs" / "default" / uninterrupted.name
    wait_for_lines(run / "metrics.jsonl", 60, process)
    process.kill()
    process.communicate()
    output, _ = (process := start(tmp_path, *LONG, "force=true")).communicate(timeout=120)
    assert process.returncode == 0
    assert "Going on from step" in output
    assert canonical_files(run) == canonical_files(uninterrupted)


def test_an_interruption_between_checkpoints_leaves_no_trace(in_tmp_path):
    """The checkpoint that Ctrl-C makes at an odd step does not displace a regular one."""
    slow = [*TINY, "task.length=60", "steps=90", "checkpoint.every=40", "checkpoint.keep=2"]
    assert run_command_line([*slow, "name=whole"]) == 0
    whole = canonical_files(only_run("whole"))["checkpoints"]
    metrics_file = in_tmp_path / "runs" / "default" / only_run("whole").name / "metrics.jsonl"

    def interrupt():
        while not metrics_file.exists() or metrics_file.read_bytes().count(b"\n") < 25:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run_command_line(slow) == 130
    thread.join()
    assert run_command_line(slow) == 0
    assert canonical_files(only_run())["checkpoints"] == whole


def test_ctrl_c_during_start_up(tmp_path):
    """No traceback, status 130, and the same command works afterwards."""
    for delay in (0.3, 0.8, 1.3, 1.8, 2.3):
        process = start(tmp_path, *LONG)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (130, 0), errors
        if delay > 0.5:
            assert "Traceback" not in errors
    process = start(tmp_path, *LONG)
    process.communicate(timeout=120)
    assert process.returncode == 0


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
