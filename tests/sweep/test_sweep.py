"""What fails costs only itself, what is finished is not run again, and nobody is left behind."""

import os
import re
import signal
import subprocess
from multiprocessing import popen_spawn_posix, resource_tracker, util
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import TINY, canonical_files, forked, metrics, read, rnnlab, start
from processes import GATED, Gate, finish, gone, wait_until
from support import composed

from rnnlab.cli import run_command_line
from rnnlab.schema import validate
from rnnlab.sweep.local_pool import LocalPool
from rnnlab.sweep.work import perform

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
SWEEP += ["hydra.launcher.jobs=2"]


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
    """Run folders by cell and clipping, which no name tells where it is `none`."""

    def key(run):
        _, cell, _, _, clipping, *_ = run.name.split("-")
        return cell, "none" if clipping == "adam" else clipping

    return {key(run): run for run in (folder / "runs" / name).iterdir() if run.is_dir()}


def children(pid):
    """Processes whose parent this is, whichever of its threads started them."""
    return [int(p) for of_thread in Path(f"/proc/{pid}/task").glob("*/children") for p in of_thread.read_text().split()]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Six jobs: two raise, two kill their workers."""
    folder = tmp_path_factory.mktemp("sweep")
    install_failing_components(folder)
    process = forked(folder, *SWEEP)
    output, errors = finish(process)
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
    process = forked(folder, *SWEEP)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert "6 jobs: 4 finished, 2 finished before, 0 failed" in output
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in done} == before
    for cell in ("rnn", "gru"):
        for bad in ("fail", "die"):
            run = runs(folder)[cell, bad]
            begun = [session["from_step"] for session in read(run, "manifest.json")["sessions"]]
            # One of those that were killed got another worker at once, when there was one fewer beside it.
            assert begun in ([0, 4], [0, 4, 8]) if bad == "die" else begun == [0, 4]
            assert metrics(run) == metrics(runs(folder)[cell, "none"])


LONG = ["-m", *GATED, *TINY, "steps=300", "checkpoint.every=50", "log.every=50", "evaluate.every=100"]
LONG += ["cell.hidden=16", "stop_when_solved=false", "cell=rnn,gru,lstm", "hydra.launcher.jobs=2"]
COUNTS = re.compile(
    r"(\d+) jobs: (\d+) finished, (\d+) finished before, (\d+) failed, (\d+) refused, (\d+) interrupted, "
    r"(\d+) not begun\. Results: runs/default"
)


def counts(output):
    """How the jobs ended: finished, finished before, failed, refused, interrupted, not begun. Together all of them."""
    total, *parts = map(int, COUNTS.search(output).groups())
    assert sum(parts) == total, output
    return parts


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """By cell and clipping, the files of the sweep when nothing happens."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    Gate(folder)
    process = start(folder, *LONG)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert counts(output) == [3, 0, 0, 0, 0, 0]
    return {key: canonical_files(run) for key, run in runs(folder).items()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_goes_on_to_the_same_files(number, uninterrupted, in_tmp_path):
    gate = Gate(in_tmp_path)
    gate.close(120)
    process = forked(in_tmp_path, *LONG, start_new_session=True)
    workers = gate.wait_for(2, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    stopping = process.stderr.readline() + process.stderr.readline()
    gate.open()
    output, errors = finish(process)
    assert process.returncode == 130, output + errors
    assert counts(output) == [0, 0, 0, 0, 2, 1]
    assert "not begun" in output[output.index("3 of 3 jobs have no results") :]
    assert "Stopping" in stopping
    assert "same command" in errors
    wait_until(lambda: gone(workers))
    assert {read(run, "manifest.json")["status"] for run in runs(in_tmp_path).values()} == {"interrupted"}
    process = forked(in_tmp_path, *LONG)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert {key: canonical_files(run) for key, run in runs(in_tmp_path).items()} == uninterrupted


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGINT, signal.SIGHUP), (signal.SIGKILL,)])
def test_workers_that_are_asked_to_end_or_killed_cost_no_job(numbers, uninterrupted, in_tmp_path):
    """While the sweep itself was not interrupted. Other workers go on from the checkpoints."""
    gate = Gate(in_tmp_path)
    gate.close(120)
    process = forked(in_tmp_path, *LONG, "hydra.launcher.jobs=3")
    workers = gate.wait_for(3, process)
    runs_of = {read(run, "manifest.json")["process"]: run for run in runs(in_tmp_path).values()}
    for worker, number in zip(workers, numbers, strict=False):
        os.kill(worker, number)
    gate.open()
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert counts(output) == [3, 0, 0, 0, 0, 0]
    assert output.count("another goes on from its checkpoint") == len(numbers)
    for worker, number in zip(workers, numbers, strict=False):
        again = 100 if number == signal.SIGKILL else 120
        assert [s["from_step"] for s in read(runs_of[worker], "manifest.json")["sessions"]] == [0, again]
    assert {key: canonical_files(run) for key, run in runs(in_tmp_path).items()} == uninterrupted


def test_a_job_whose_workers_are_asked_to_end_again_and_again_ends_when_it_gets_further(in_tmp_path):
    gate = Gate(in_tmp_path)
    gate.close(60)
    process = forked(in_tmp_path, *LONG, "hydra.launcher.jobs=1", "cell=rnn")
    gate.interrupt_each(process, signal.SIGTERM, every=60, workers=4)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert counts(output) == [1, 0, 0, 0, 0, 0]
    (run,) = runs(in_tmp_path).values()
    assert [s["from_step"] for s in read(run, "manifest.json")["sessions"]] == [0, 60, 120, 180, 240]


def test_whatever_a_component_raises_is_told(in_tmp_path):
    install_failing_components(in_tmp_path)
    raised = {"stop": "KeyboardInterrupt", "leave": "SystemExit(0)", "close": "GeneratorExit"}
    for name, error in raised.items():
        text = ACT.format(name=name.title(), act=f"raise {error}")
        (in_tmp_path / "mine" / f"{name}.py").write_text(text)
        (in_tmp_path / "conf" / "clipping" / f"{name}.yaml").write_text(f"_target_: mine.{name}.{name.title()}\n")
    command = ["--config-dir", "conf", *TINY, "steps=40", "checkpoint.every=40", "components=[rnnlab,mine]", "cell=rnn"]
    process = forked(in_tmp_path, "-m", *command, "clipping=none,stop,leave,close")
    output, errors = finish(process)
    assert process.returncode == 1, output + errors
    assert counts(output) == [1, 0, 2, 0, 1, 0]
    table = output[output.index("3 of 4 jobs have no results") :]
    for name, error in raised.items():
        ending = "interrupted" if name == "stop" else "failed"
        assert read(runs(in_tmp_path)["rnn", name], "manifest.json")["status"] == ending
        assert error.partition("(")[0] in table
    process = forked(in_tmp_path, *command, "clipping=leave", "name=alone")
    output, errors = finish(process)
    assert process.returncode == 1, output + errors


def test_a_worker_killed_between_two_jobs_costs_nothing(in_tmp_path, forked_workers):
    pool = LocalPool(slots=1, threads=1)
    try:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            worker = pool.submit(os.getpid).result()
            os.kill(worker, number)
            wait_until(lambda pid=worker: gone([pid]))
            assert pool.submit(os.getpid).result() != worker
    finally:
        pool.close(at_once=True)


def test_a_pool_that_shrinks_ends_workers_and_goes_on(in_tmp_path, forked_workers):
    pool = LocalPool(slots=2, threads=1)
    try:
        workers = {future.result() for future in [pool.submit(os.getpid) for _ in range(2)]}
        assert pool.shrink()
        assert not pool.shrink(), "one is left"
        assert len(workers) - sum(gone([pid]) for pid in workers) <= 1
        assert len({pool.submit(os.getpid).result() for _ in range(3)}) == 1
    finally:
        pool.close(at_once=True)


def test_code_that_changes_while_a_sweep_is_at_work_is_told(in_tmp_path):
    """A worker's run must go where the sweep takes it to be."""

    outcome = perform(validate(composed(*TINY)), Path("runs/default/another"))
    assert outcome.status == "failed"
    assert outcome.reason.startswith("its code or data has changed since the sweep began")
    assert list(in_tmp_path.iterdir()) == []


def test_a_damaged_manifest_stops_no_sweep(in_tmp_path, forked_workers, capfd):
    assert run_command_line(["-m", *TINY, "cell=rnn,gru"]) == 0
    (runs(in_tmp_path)["rnn", "norm"] / "manifest.json").write_text("[]")
    capfd.readouterr()
    assert run_command_line(["-m", *TINY, "cell=rnn,gru"]) == 0
    assert counts(capfd.readouterr().out) == [1, 1, 0, 0, 0, 0]


def test_the_second_ctrl_c_stops_at_once_and_a_killed_sweep_leaves_no_workers(in_tmp_path):
    gate = Gate(in_tmp_path)
    for kill in (False, True):
        gate.close(10)
        process = forked(in_tmp_path, *LONG)
        workers = gate.wait_for(2, process)
        if kill:
            process.kill()
            gate.open()
        else:
            process.send_signal(signal.SIGINT)
            assert "Stopping" in process.stderr.readline() + process.stderr.readline()
            process.send_signal(signal.SIGINT)
        output, errors = finish(process)
        wait_until(lambda pids=workers: gone(pids))
        stands = {read(run, "manifest.json")["status"] for run in runs(in_tmp_path).values()}
        assert stands == {"interrupted"}, (kill, output, errors)
        if not kill:
            assert process.returncode == 130, output + errors
            assert counts(output) == [0, 0, 0, 0, 2, 1]


def test_two_sweeps_share_their_runs(in_tmp_path):
    command = ["-m", *TINY, "steps=300", "cell=rnn,gru", "clipping=none,norm", "hydra.launcher.jobs=2"]
    both = [forked(in_tmp_path, *command) for _ in range(2)]
    for process in both:
        output, errors = finish(process)
        assert process.returncode == 0, output + errors
    found = runs(in_tmp_path)
    assert len(found) == 4
    for run in found.values():
        assert len(read(run, "manifest.json")["sessions"]) == 1


def test_a_refused_configuration_costs_only_itself(in_tmp_path, forked_workers, capfd):
    command = ["-m", *TINY, "optimiser.lr=-1,0.5", "cell=rnn"]
    assert run_command_line(command) == 1
    output = capfd.readouterr().out
    assert "refused: optimiser.lr=-1: not allowed. optimiser.lr must be greater than 0" in " ".join(output.split())
    assert [read(run, "manifest.json")["status"] for run in runs(in_tmp_path).values()] == ["finished"]


def test_where_all_are_refused_nothing_is_written(in_tmp_path, forked_workers, capfd):
    assert run_command_line(["-m", *TINY, "optimiser.lr=-1,-2"]) == 2
    told = capfd.readouterr().err
    assert "rnnlab: optimiser.lr=-1: not allowed" in told
    assert told.count("\n") == 1
    assert run_command_line(["-m", *TINY, "cell=lstm", "hydra.launcher.jobs=0"]) == 2
    assert "hydra.launcher.jobs" in capfd.readouterr().err
    assert list(in_tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_that_is_killed_while_it_begins_is_replaced(number, in_tmp_path):
    """Also by a terminal's Ctrl-C, which goes to it too: without a traceback."""
    process = start(in_tmp_path, "-m", *TINY, "cell=rnn,gru", "hydra.launcher.jobs=1")
    wait_until(lambda: workers_of(process.pid) or process.poll() is not None)
    for pid in workers_of(process.pid):
        os.kill(pid, number)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in output + errors


def test_each_worker_is_begun_deaf_to_ctrl_c(monkeypatch):
    """The first too, with which multiprocessing would begin its resource tracker, and unblock SIGINT."""
    tracker, masks = resource_tracker.ResourceTracker(), []

    def spawn(*arguments):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return util.spawnv_passfds(*arguments)

    monkeypatch.setattr(resource_tracker, "ensure_running", tracker.ensure_running)
    monkeypatch.setattr(resource_tracker, "getfd", tracker.getfd)
    monkeypatch.setattr(popen_spawn_posix, "util", SimpleNamespace(**{**vars(util), "spawnv_passfds": spawn}))
    pool = LocalPool(slots=2, threads=1)
    try:
        assert len({future.result() for future in [pool.submit(os.getpid) for _ in range(2)]}) in (1, 2)
    finally:
        pool.close(at_once=True)
    assert masks
    assert all(signal.SIGINT in mask for mask in masks)


def workers_of(pid):
    """Processes that were begun as workers of a sweep."""

    def command(child):
        try:
            return Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            return b""

    return [child for child in children(pid) if b"spawn_main" in command(child)]


def test_a_terminal_gets_a_live_overview_and_no_output_of_jobs(in_tmp_path):
    import pty

    gate = Gate(in_tmp_path)
    gate.close(1)
    ours, theirs = pty.openpty()
    terminal = {"stdout": theirs, "stderr": theirs, "stdin": subprocess.DEVNULL}
    process = forked(in_tmp_path, *LONG, "cell=rnn,gru", environment={"TERM": "xterm", "COLUMNS": "120"}, **terminal)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if b"0/2 done, 2 running, 0 failed" in shown and (in_tmp_path / "closed").exists():
            gate.open()
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "2 jobs: 2 finished" in text
    assert "seed(s)" not in text


def test_one_run_of_a_sweep_equals_the_run_alone(in_tmp_path, forked_workers):
    assert run_command_line(["-m", *TINY, "cell=rnn,gru"]) == 0
    os.rename("runs", "swept")
    assert rnnlab("cell=gru") == 0
    (alone,) = Path("runs/default").iterdir()
    assert canonical_files(alone) == canonical_files(Path("swept/default") / alone.name)
