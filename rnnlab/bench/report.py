"""The report over many runs: seconds until it is written, and the page's bytes. The runs are synthetic."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from rnnlab.bench.synthetic_runs import write_runs
from rnnlab.bench.timing import small_table

SECONDS, BYTES = 60.0, 5_000_000
"""Targets, for 1,000 runs."""


def measure(*, runs: int, seeds: int, search: bool) -> dict[str, Any]:
    """Write the runs, and make the report in a process of its own; its imports count."""
    with tempfile.TemporaryDirectory() as folder:
        below = Path(folder) / "runs"
        write_runs(below, runs, seeds=seeds, search=search, rng=np.random.default_rng(0))
        out = Path(folder) / "report"
        command = [sys.executable, "-m", "rnnlab.report", str(below), "--out", str(out)]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr}")
        size = (out / "index.html").stat().st_size
    return {"report_s": seconds, "page_bytes": size, "target report_s": SECONDS, "target page_bytes": BYTES}


def show(result: dict[str, Any]) -> list[Table | str]:
    """Both figures beside their targets."""
    table = small_table("a report, runs read to page written", "", "measured", "target for 1,000 runs")
    table.add_row("seconds", f"{result['report_s']:.1f}", f"< {result['target report_s']:g}")
    table.add_row("page, MB", f"{result['page_bytes'] / 1e6:.2f}", f"< {result['target page_bytes'] / 1e6:g}")
    return [table]
