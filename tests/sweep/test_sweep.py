"""What fails costs only itself, what is finished is not run again, and nobody is left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers import TINY, canonical_files, metrics, read, rnnlab, start

from rnnlab.cli import run_command_line

MINE = """
import os, signal
from pathlib import Path
from rnnlab.contract import component

class _Counting:
    def __call__(self, step):
        calls = self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        if calls == 6 and not Path("repaired").exists():
            self.act()
        return step.norm_R < 0
"""
ACT = "from mine.base import *\n\n@component\nclass {name}(_Counting):\n    def act(self):\n        {act}\n"
FAIL = ACT.format(name="Fail", act="raise ValueError('as told')")
DIE = ACT.format(name="Die", act="os.kill(os.getpid(), 9)")
SWEEP = ["-m", "--config-dir", "conf", *TINY, "components=[rnnlab,mine]", "cell=rnn,gru", "clipping=none,fail,die"]


def install_failing_components(folder):
    """Clipping that fails, or kills its process, at a session's sixth step, unless the file `repaired` is there."""
    (folder / "mine").mkdir()
    (folder / "conf" / "clipping").mkdir(parents=True)
    base = MINE + "\n__all__ = ['_Counting', 'component', 'os']\n"
    for name, text in {"__init__": "", "base": base, "fail": FAIL, "die": DIE}.items():
        (folder / "mine" / f"{name}.py").write_text(text)
    for name in ("fail", "die"):
        (folder / "conf" / "clipping" / f"{name}.yaml").write_text(f"_target_: mine.{name}.{name.title()}\n")


def runs(folder, name="default"):
    """Run folders by cell and clipping."""
    return {tuple(p.name.split("-")[i] for i in (1, 4)): p for p in (folder / "runs" / name).iterdir() if p.is_dir()}


def children(pid):
    """Processes whose parent this is, whichever of its threads started them."""
    return [int(p) for of_thread in Path(f"/proc/{pid}/task").glob("*/children") for p in of_thread.read_text().split()]


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def gone(pids):
    """Whether none of these is a process that still runs."""

    def ended(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    return all(ended(pid) for pid in pids)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Six jobs: two raise, two kill their workers."""
    folder = tmp_path_factory.mktemp("sweep")
    install_failing_components(folder)
    process = start(folder, *SWEEP)
    output, errors = process.communicate(timeout=120)
    return folder, process.returncode, output, errors


def test_what_fails_costs_only_itself(first):
    folder, status, output, errors = first
    assert status == 1, output + errors
    stands = {key: read(run, "manifest.json")["status"] for key, run in runs(folder).items()}
    good = {(cell, "none"): "finished" for cell in ("rnn", "gru")}
    assert stands == good | {(cell, bad): "failed" for cell in ("rnn", "gru") for bad in ("fail", "die")}


def test_the_table_names_jobs_and_reasons(first):
    folder, _, output, _ = first
    table = output[output.index("4 of 6 jobs have no results") :]
    for cell in ("rnn", "gru"):
        assert f"cell={cell} clipping=fail" in table
        assert f"cell={cell} clipping=die" in table
    assert table.count("ValueError: as told") >= 2
    assert table.count("its worker was killed (SIGKILL") == 2
    assert "6 jobs: 2 finished, 0 finished before, 4 failed, 0 refused" in output
    assert "killed (SIGKILL" in read(runs(folder)["rnn", "die"], "manifest.json")["reason"]


def test_what_jobs_print_goes_to_their_folders(first):
    folder, _, output, errors = first
    assert "seed(s)" not in output[: output.index("4 of 6 jobs have no results")]
    assert "ValueError: as told" in output[output.index("output.log ends with") :]
    assert errors == ""
    for run in runs(folder).values():
        assert "1 seed(s)" in (run / "output.log").read_text()
    assert "Traceback" in (runs(folder)["gru", "fail"] / "output.log").read_text()
    assert "steps to solve" in (runs(folder)["gru", "none"] / "output.log").read_text()


def test_the_same_command_runs_only_what_is_missing_from_its_checkpoints(first):
    folder, *_ = first
    done = [file for cell in ("rnn", "gru") for file in runs(folder)[cell, "none"].rglob("*") if file.is_file()]
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in done}
    (folder / "repaired").touch()
    process = start(folder, *SWEEP)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert "6 jobs: 4 finished, 2 finished before, 0 failed" in output
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in done} == before
    for cell in ("rnn", "gru"):
        for bad in ("fail", "die"):
            run = runs(folder)[cell, bad]
            assert [s["from_step"] for s in read(run, "manifest.json")["sessions"]] == [0, 4]
            assert metrics(run) == metrics(runs(folder)[cell, "none"])


LONG = [*TINY, "steps=1200", "checkpoint.every=100", "log.every=50", "evaluate.every=200", "cell.hidden=16", "cell=gru"]
LONG += ["stop_when_solved=false"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """By cell and clipping, the files of the sweep when nothing happens."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(folder, "-m", *LONG, "clipping=none,norm,value")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    return {key: canonical_files(run) for key, run in runs(folder).items()}


def begun(folder, count):
    return lambda: len(list(folder.glob("runs/default/*/metrics.jsonl"))) >= count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_goes_on_to_the_same_files(number, uninterrupted, in_tmp_path):
    process = start(in_tmp_path, "-m", *LONG, "clipping=none,norm,value", start_new_session=True)
    wait_until(begun(in_tmp_path, 2))
    workers = children(process.pid)
    assert len(workers) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "2 have written a checkpoint, 1 have not begun" in errors
    assert "same command" in errors
    wait_until(lambda: gone(workers))
    assert {read(run, "manifest.json")["status"] for run in runs(in_tmp_path).values()} == {"interrupted"}
    assert run_command_line(["-m", *LONG, "clipping=none,norm,value"]) == 0
    assert {key: canonical_files(run) for key, run in runs(in_tmp_path).items()} == uninterrupted


def test_the_second_ctrl_c_stops_at_once_and_a_killed_sweep_leaves_no_workers(in_tmp_path):
    for numbers in ((signal.SIGINT, signal.SIGINT), (signal.SIGKILL,)):
        process = start(in_tmp_path, "-m", *LONG, "clipping=none,norm")
        wait_until(begun(in_tmp_path, 2))
        workers = children(process.pid)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.02)
        process.communicate(timeout=60)
        wait_until(lambda pids=workers: gone(pids), 30)
        assert {read(run, "manifest.json")["status"] for run in runs(in_tmp_path).values()} == {"interrupted"}


def test_two_sweeps_share_their_runs(in_tmp_path):
    command = ["-m", *TINY, "steps=300", "cell=rnn,gru", "clipping=none,norm"]
    both = [start(in_tmp_path, *command) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, output + errors
    found = runs(in_tmp_path)
    assert len(found) == 4
    for run in found.values():
        assert len(read(run, "manifest.json")["sessions"]) == 1


def test_a_refused_configuration_costs_only_itself(in_tmp_path, capfd):
    command = ["-m", *TINY, "optimiser.lr=-1,0.5", "cell=rnn"]
    assert run_command_line(command) == 1
    output = capfd.readouterr().out
    assert "refused: optimiser.lr=-1: not allowed. optimiser.lr must be greater than 0" in " ".join(output.split())
    assert [read(run, "manifest.json")["status"] for run in runs(in_tmp_path).values()] == ["finished"]


def test_where_all_are_refused_nothing_is_written(in_tmp_path, capfd):
    assert run_command_line(["-m", *TINY, "optimiser.lr=-1,-2"]) == 2
    assert "optimiser.lr=-1: not allowed" in capfd.readouterr().err
    assert run_command_line(["-m", *TINY, "cell=lstm", "hydra.launcher.jobs=0"]) == 2
    assert "hydra.launcher.jobs" in capfd.readouterr().err
    assert list(in_tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_while_it_begins_is_replaced(in_tmp_path):
    process = start(in_tmp_path, "-m", *TINY, "cell=rnn,gru")
    wait_until(lambda: len(children(process.pid)) >= 2 or process.poll() is not None)
    for pid in children(process.pid):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"spawn_main" in command:
            os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors


def test_a_terminal_gets_a_live_overview_and_no_output_of_jobs(in_tmp_path):
    import pty
    import sys

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnlab", "-m", *TINY, "steps=800", "cell=rnn,gru"],
        stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    text = shown.decode()
    assert "0/2 done, 2 running, 0 failed" in text
    assert "2 jobs: 2 finished" in text
    assert "seed(s)" not in text


def test_one_run_of_a_sweep_equals_the_run_alone(in_tmp_path):
    assert run_command_line(["-m", *TINY, "cell=rnn,gru"]) == 0
    os.rename("runs", "swept")
    assert rnnlab("cell=gru") == 0
    (alone,) = Path("runs/default").iterdir()
    assert canonical_files(alone) == canonical_files(Path("swept/default") / alone.name)
