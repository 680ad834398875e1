"""A sweep on a Ray cluster of two nodes (two `ray start` on this machine), with a worker killed in the middle."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import TINY, canonical_files, read, start
from processes import GATED, Gate, finish, wait_until

from rnnlab.cli import run_command_line
from rnnlab.sweep import ray_cluster

pytest.importorskip("ray", reason="Ray is not installed (pip install 'rnnlab[ray]')")

RUN = [*GATED, *TINY, "steps=300", "checkpoint.every=50", "log.every=50", "evaluate.every=100", "cell.hidden=16"]
RUN += ["stop_when_solved=false"]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """HOST:PORT of a cluster of two nodes with one CPU each, in sessions of their own so that they can be ended."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("RNNLAB_CACHE", os.environ.get("RNNLAB_CACHE") or str(Path("~/.cache/rnnlab").expanduser()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # Ray keeps a token there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    log = (tmp_path / "nodes.log").open("a")
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
    nodes = []

    def told():
        return (tmp_path / "nodes.log").read_text()

    def start_node(*arguments):
        nodes.append(subprocess.Popen([*ray, *arguments], stdout=log, stderr=log, start_new_session=True, cwd=tmp_path))
        wait_until(lambda: told().count("block forever") == len(nodes) or nodes[-1].poll() is not None, told)
        assert nodes[-1].poll() is None, told()

    try:
        # Port 0: a free one, which the head tells.
        start_node("--head", "--port=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
        address = re.search(r"--address='?([\w.:]+)", told())[1]
        start_node(f"--address={address}")
        yield address
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
        log.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_or_asked_to_end_costs_no_job_on_two_nodes(number, cluster, in_tmp_path):
    gate = Gate(in_tmp_path)
    gate.close(120)
    (in_tmp_path / "numpy.py").write_text("open('pwned', 'w')\n")  # of the current folder, and not to be imported
    launcher = ["hydra/launcher=ray", f"ray_address={cluster}"]
    process = start(in_tmp_path, "-m", *RUN, "cell=rnn,gru", *launcher)
    victim, _ = gate.wait_for(2, process)
    runs = {read(p, "manifest.json")["process"]: p for p in (in_tmp_path / "runs" / "default").iterdir()}
    os.kill(victim, number)
    gate.open()
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    assert "on 2 Ray node(s)" in output
    assert "another goes on from its checkpoint" in output
    assert "2 jobs: 2 finished, 0 finished before, 0 failed, 0 refused, 0 interrupted, 0 not begun" in output
    again = 100 if number == signal.SIGKILL else 120
    assert [s["from_step"] for s in read(runs[victim], "manifest.json")["sessions"]] == [0, again]
    assert list(in_tmp_path.rglob("pwned")) == []
    alone = in_tmp_path / "alone"
    alone.mkdir()
    Gate(alone)
    process = start(alone, *RUN, f"cell={runs[victim].name.split('-')[1]}")
    finish(process)
    assert canonical_files(alone / "runs" / "default" / runs[victim].name) == canonical_files(runs[victim])


@pytest.mark.parametrize("what", ["closed", "silent", "gone"])
def test_where_no_cluster_answers_one_line_says_so(what, in_tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ray_cluster, "SECONDS_TO_ANSWER", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"127.0.0.1:{server.getsockname()[1]}"
        if what == "closed":
            server.close()
        if what == "gone":
            monkeypatch.setenv("RAY_ADDRESS", silent)
        address = "auto" if what == "gone" else silent
        assert run_command_line(["-m", *TINY, "cell=rnn,gru", "hydra/launcher=ray", f"ray_address={address}"]) == 1
    told = capfd.readouterr().err
    assert f"rnnlab: ray_address={address}: no Ray cluster answers there" in told
    assert told.count("\n") == 1
    assert list(in_tmp_path.iterdir()) == []
