"""What runs are said to need in memory, beside how far the resident memory of their processes grows. Linux only."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from rnnlab.bench.timing import small_table

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


def measure(*, runs: Sequence[str]) -> dict[str, Any]:
    """Per run `estimate` and `grown`, bytes.

    Args:
        runs: names from RUNS; all when empty.
    """
    found = {name: _in_a_process(RUNS[name]) for name in runs or RUNS}
    return {"runs": [{"run": name, "overrides": RUNS[name], **figures} for name, figures in found.items()]}


def _in_a_process(overrides: list[str]) -> dict[str, int]:
    call = "import json, sys; from rnnlab.bench.memory import grow; print(json.dumps(grow(json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", call, json.dumps(overrides)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, int] = json.loads(done.stdout)
    return figures


def grow(overrides: list[str]) -> dict[str, int]:
    """Do a run in this process and tell what it was said to need, and by how much the peak lies above what was there.

    A tiny run comes before it, so that everything is imported and the kernel is there.
    """
    from rnnlab.bench.work import configuration
    from rnnlab.build import build
    from rnnlab.training.run import run

    chosen = [override for override in overrides if override.startswith(("cell=", "task="))]
    with contextlib.redirect_stdout(io.StringIO()):
        run(configuration(*chosen, *ALIKE, *TINY))
        before = _status("VmRSS")
        config = configuration(*ALIKE, *overrides)
        run(config)
    return {"estimate": build(config).memory.bytes, "grown": _status("VmHWM") - before}


def _status(name: str) -> int:
    """Bytes of a line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row per run."""
    table = small_table("memory", "run", "said to need, MB", "grown by, MB", "share")
    for row in result["runs"]:
        share = row["estimate"] / row["grown"]
        table.add_row(row["run"], f"{row['estimate'] / 1e6:.0f}", f"{row['grown'] / 1e6:.0f}", f"{share:.2f}")
    return [table]
