"""TensorBoard over many runs: seconds until all of them are listed, and what the HParams tab loads.

One small net is trained with every probe, and its event folder copied under as many names: how much there is to read
depends on the steps, not on the net's size.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps, loads
from pathlib import Path
from typing import Any

from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rnnlab.bench.timing import small_table

SECONDS = 10.0
"""Target for 50 runs, from the start of TensorBoard."""
PATIENCE = 300
"""Seconds."""
SMALL = ("+experiment=smoke", "name=dashboard", "probes=full", "seeds=3", "stop_when_solved=false", "log.every=10")
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


def measure(*, runs: int, steps: int) -> dict[str, Any]:
    """`answers_s`: until TensorBoard serves its page; `listed_s`: until it lists every scalar tag of every run;
    `hparams_s` and `hparams_bytes`: of the HParams tab's table then; `scalar_tags` and `event_bytes`: of one run.
    """
    with tempfile.TemporaryDirectory() as folder:
        below = Path(folder) / "runs" / "dashboard"
        _train(Path(folder), steps)
        (trained,) = below.iterdir()
        events = trained / "tensorboard"
        tags = len(EventAccumulator(str(events)).Reload().Tags()["scalars"])
        size = sum(file.stat().st_size for file in events.iterdir())
        for number in range(1, runs):
            shutil.copytree(events, below / f"{trained.name}-{number:04d}" / "tensorboard")
        began = time.perf_counter()
        with _tensorboard(Path(folder)) as address:
            answers = time.perf_counter() - began
            _until_all_are_listed(address, runs, tags)
            listed = time.perf_counter() - began
            table = _session_groups(address)
            hparams = time.perf_counter() - began - listed
    if len(loads(table)["sessionGroups"]) != runs:
        raise RuntimeError("the HParams tab does not have every run")
    return {
        "answers_s": answers,
        "listed_s": listed,
        "hparams_s": hparams,
        "hparams_bytes": len(table),
        "scalar_tags": tags,
        "event_bytes": size,
        "target listed_s": SECONDS,
    }


def _train(folder: Path, steps: int) -> None:
    command = [sys.executable, "-m", "rnnlab", *SMALL, f"steps={steps}", f"evaluate.every={max(1, steps // 50)}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr}")


@contextmanager
def _tensorboard(folder: Path) -> Iterator[str]:
    """Its address, on a free port of this machine."""
    log = folder / "tensorboard.log"
    command = ["tensorboard.main", "--logdir", str(folder / "runs"), "--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as told:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=told, stderr=told)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(f"TensorBoard did not start: {log.read_text()}")
            time.sleep(0.05)
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def _until_all_are_listed(address: str, runs: int, tags: int) -> None:
    until = time.perf_counter() + PATIENCE
    while True:
        counts = [len(listed) for listed in loads(_fetch(address + "data/plugin/scalars/tags")).values()]
        if counts == [tags] * runs:
            return
        if time.perf_counter() > until:
            raise RuntimeError(f"after {PATIENCE} s TensorBoard has {counts} of {tags} tags in each of {runs} runs")
        time.sleep(0.05)


def _session_groups(address: str) -> bytes:
    """What the HParams tab asks for."""
    asked = {"startIndex": 0, "sliceSize": 1000, "allowedStatuses": STATUSES, "colParams": []}
    return _fetch(address + "data/plugin/hparams/session_groups", dumps(asked).encode())


def _fetch(address: str, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"} if data else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def show(result: dict[str, Any]) -> list[Table | str]:
    """Seconds beside the target, and what there was to read."""
    table = small_table("TensorBoard over runs with every probe", "", "seconds")
    for name, key in (("answers", "answers_s"), ("all runs listed", "listed_s"), ("HParams table", "hparams_s")):
        table.add_row(name, f"{result[key]:.2f}")
    return [
        table,
        f"{result['scalar_tags']} scalar tags and {result['event_bytes'] / 1e6:.2f} MB of events in each run; the "
        f"HParams table is {result['hparams_bytes'] / 1e6:.2f} MB. Target for 50 runs: listed in "
        f"{result['target listed_s']:g} s.",
    ]
