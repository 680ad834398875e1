"""A sweep on a Ray cluster of two nodes (two `ray start` on this machine), with a worker killed in the middle."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import TINY, canonical_files, read, start

from rnnlab.cli import run_command_line

pytest.importorskip("ray", reason="Ray is not installed (pip install 'rnnlab[ray]')")

SWEEP = [*TINY, "steps=800", "checkpoint.every=50", "log.every=50", "evaluate.every=200", "cell.hidden=16"]
SWEEP += ["cell=rnn", "stop_when_solved=false"]
SECONDS = 60


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """HOST:PORT of a cluster of two nodes with one CPU each, in sessions of their own so that they can be ended."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("RNNLAB_CACHE", os.environ.get("RNNLAB_CACHE") or str(Path("~/.cache/rnnlab").expanduser()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # Ray keeps a token there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "nodes.log").open("a")
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
    head = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    nodes = []
    try:
        for arguments, alive in ((head, 1), ([f"--address=127.0.0.1:{port}"], 2)):
            nodes.append(
                subprocess.Popen([*ray, *arguments], stdout=log, stderr=log, start_new_session=True, cwd=tmp_path)
            )
            wait_until(
                lambda alive=alive: (tmp_path / "nodes.log").read_text().count("Ray runtime started") >= alive,
                lambda: (tmp_path / "nodes.log").read_text(),
            )
        yield f"127.0.0.1:{port}"
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
        log.close()


def wait_until(condition, explain=lambda: ""):
    deadline = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition(), explain()


def test_a_killed_worker_costs_no_job_on_two_nodes(cluster, in_tmp_path):
    launcher = ["hydra/launcher=ray", f"ray_address={cluster}"]
    process = start(in_tmp_path, "-m", *SWEEP, "clipping=none,norm", *launcher)
    runs = in_tmp_path / "runs" / "default"
    wait_until(lambda: list(runs.glob("*/checkpoint/step-*.pt")) or process.poll() is not None)
    victim = next(iter(runs.glob("*/checkpoint/step-*.pt"))).parent.parent
    os.kill(read(victim, "manifest.json")["process"], signal.SIGKILL)
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output + errors
    assert "on 2 Ray node(s)" in output
    assert "another goes on from its checkpoint" in output
    assert "2 jobs: 2 finished, 0 finished before, 0 failed" in output
    sessions = read(victim, "manifest.json")["sessions"]
    assert len(sessions) == 2
    assert sessions[1]["from_step"] > 0
    os.chdir(in_tmp_path / "home")
    assert run_command_line([*SWEEP, f"clipping={victim.name.split('-')[4]}"]) == 0
    assert canonical_files(Path("runs/default") / victim.name) == canonical_files(victim)
