"""What runs are said to need in memory, over how far the resident memory of their processes grows. Linux only."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.work import aside, configuration
from rnnlab.build import build
from rnnlab.training.run import run

RUNS: dict[str, list[str]] = {
    "rnn, fused": ["cell=rnn", "task.length=2000", "task.batch=256"],
    "lstm, fused": ["cell=lstm", "task.length=1000", "task.batch=128"],
    "lstm, fused, 8 seeds": ["cell=lstm", "task.length=200", "task.batch=50", "seeds=8"],
    "gru, fused": ["cell=gru", "task.length=1000", "task.batch=100"],
    "lem, autograd": ["cell=lem", "task.length=500", "task.batch=128"],
    "mingru, scan": ["cell=mingru", "task.length=2000", "task.batch=100"],
    "lstm, 2000 units": ["cell=lstm", "cell.hidden=2000", "task.length=20", "task.batch=4"],
    "rnn, 300,000 held-out examples": ["cell=rnn", "cell.hidden=8", "task.length=100", "evaluate.examples=300000"],
    "copy memory, all steps scored": ["task=copy", "cell=rnn", "task.length=2000", "task.batch=32"],
}
ALIKE = ["steps=10", "evaluate.every=10", "stop_when_solved=false", "tensorboard=false", "device=cpu"]
TINY = ["cell.hidden=4", "task.length=4", "task.batch=2", "evaluate.examples=2", "name=tiny"]


def measure() -> Iterator[Figure]:
    """The estimate is a lower bound: a share above 1 is a fault. Each run is a process of its own."""
    for name, overrides in RUNS.items():
        call = "import json, sys; from benchmarks.memory import grow; print(json.dumps(grow(json.loads(sys.argv[1]))))"
        command = [sys.executable, "-c", call, json.dumps(overrides)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True)
        needed, grown = json.loads(done.stdout)
        yield Figure(name, needed / grown, "", 1.0, f"{needed / 1e6:.0f} MB of {grown / 1e6:.0f} MB")


def grow(overrides: list[str]) -> tuple[int, int]:
    """Bytes that a run is said to need, and by how many this process's peak then lies above what was there before.

    A tiny run comes first, so that everything is imported and the kernel is there.
    """
    chosen = [override for override in overrides if override.startswith(("cell=", "task="))]
    with aside():
        run(configuration(*chosen, *ALIKE, *TINY))
        before, config = _status("VmRSS"), configuration(*ALIKE, *overrides)
        run(config)
    return build(config).memory.bytes, _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes of a line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
