"""Kills and signals at random moments: single runs, the workers of a sweep, and builders of the kernel."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from helpers import TINY, canonical_files, forked, start
from processes import finish, listens, wait_until

from campaign.table import Tally

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
SOLO = [*TINY, "steps=600", "checkpoint.every=20", "probe.every=50", "evaluate.every=40", "seeds=2", "cell.hidden=16"]
SOLO += ["probes=cheap", "probes.saturation.every=100"]
SWEEP = ["-m", *TINY, "steps=800", "checkpoint.every=50", "log.every=50", "evaluate.every=200", "cell.hidden=16"]
SWEEP += ["stop_when_solved=false", "cell=rnn,gru,lstm", "hydra.launcher.jobs=2"]
LINE = re.compile(r"(\d+) jobs: ([^.]*)\. Results")


def solo(seed: int, trials: int) -> Tally:
    """A run that is stopped up to three times, and given again until it ends: the files of the run left alone."""
    draw, tally = random.Random(seed), Tally("kills: single run")
    (folder,) = _left_alone(SOLO)
    whole = canonical_files(folder)
    lines = (folder / "metrics.jsonl").read_bytes().count(b"\n")
    for trial in range(trials):
        shutil.rmtree("runs")
        told = []
        for _ in range(draw.randint(1, 3)):
            before = _lines(Path("runs"))
            process, number = start(Path(), *SOLO), draw.choice(SIGNALS)
            wait_until(lambda p=process: p.poll() is not None or listens(p.pid))  # before that Python itself answers
            _wait_for_lines(draw.randrange(lines), process)
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(number)
            _, errors = finish(process)
            told.append(signal.Signals(number).name)
            status = process.returncode
            # A signal ends the process by itself before the run begins, and when Python is closing down.
            idle = _lines(Path("runs")) == before or any(Path("runs").glob("*/*/summary.json"))
            stopped = {0, -number} if number == signal.SIGKILL else {0, 130, -number if idle else 0}
            if status not in stopped or "Traceback" in errors:
                tally.add(f"seed {seed}, trial {trial}, {told}", [f"exit status {status}: {errors.strip()[-300:]}"], 0)
        complaints = _given_again(SOLO, {folder.name: whole})
        tally.add(f"seed {seed}, trial {trial}, {told}", complaints)
    return tally


def sweep(seed: int, trials: int) -> Tally:
    """A sweep whose workers are killed: one row a job, exit status 0 only with all results, at last the same files."""
    draw, tally = random.Random(seed), Tally("kills: workers of a sweep")
    whole = {folder.name: canonical_files(folder) for folder in _left_alone(SWEEP)}
    for trial in range(trials):
        shutil.rmtree("runs")
        process, told = start(Path(), *SWEEP), []
        for _ in range(draw.randint(1, 3)):
            _wait_for_lines(draw.randrange(20), process)
            workers = _children(process.pid)
            if workers and process.poll() is None:
                number = draw.choice(SIGNALS)
                _send(draw.choice(workers), number)
                told.append(signal.Signals(number).name)
            time.sleep(draw.uniform(0, 0.5))
        output, errors = finish(process)
        complaints = _rows(output, errors, process.returncode)
        complaints += _given_again(SWEEP, whole)
        tally.add(f"seed {seed}, trial {trial}, {told}", complaints)
    return tally


def builders(seed: int, trials: int) -> Tally:
    """Builders of the kernel that are killed: no process and no file is left when the next one has built."""
    draw, tally = random.Random(seed), Tally("kills: builders of the kernel")
    cache = Path("cache").resolve()
    environment = {**os.environ, "RNNLAB_CACHE": str(cache)}
    command = [sys.executable, "-m", "rnnlab.bptt.fused.build"]
    for trial in range(trials):
        shutil.rmtree(cache, ignore_errors=True)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.2, 4.0))
        process.kill()
        process.wait()
        built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        left = sorted(path.suffix for path in cache.iterdir()) if cache.exists() else []
        complaints = [f"exit status {built.returncode}: {built.stderr[-300:]}"] if built.returncode else []
        complaints += [f"files are left: {left}"] if left not in ([".lock", ".sha256", ".so"], []) else []
        tally.add(f"seed {seed}, trial {trial}", complaints)
    return tally


def _left_alone(command: list[str]) -> list[Path]:
    """The run folders of a command that nothing happens to."""
    process = start(Path(), *command)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    return [path for path in Path("runs/default").iterdir() if path.is_dir()]


def _given_again(command: list[str], whole: dict[str, Any]) -> list[str]:
    """Whether the same command now ends with the files of the runs left alone, which a fresh process wrote."""
    process = forked(Path(), *command)
    output, errors = finish(process)
    if process.returncode:
        return [f"given again: exit status {process.returncode}: {(output + errors).strip()[-400:]}"]
    found = {path.name: canonical_files(path) for path in Path("runs/default").iterdir() if path.is_dir()}
    return [] if found == whole else ["other files than the runs left alone"]


def _rows(output: str, errors: str, status: int) -> list[str]:
    found = LINE.search(" ".join(output.split()))
    if found is None or "Traceback" in output + errors:
        return [f"no closing line, exit status {status}: {(output + errors).strip()[-300:]}"]
    counts = [int(number) for number in re.findall(r"\d+", found[2])]
    complaints = [] if sum(counts) == int(found[1]) == 3 else [f"the counts do not add up: {found[0]}"]
    results = len(list(Path("runs/default").glob("*/summary.json")))
    return complaints + ([] if (status == 0) == (results == 3) else [f"exit status {status} with {results} results"])


def _wait_for_lines(lines: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and sum(f.count(b"\n") for f in _lines(Path("runs"))) < lines:
        time.sleep(0.005)


def _lines(runs: Path) -> list[bytes]:
    """The metrics of all runs."""
    return [file.read_bytes() for file in sorted(runs.glob("*/*/metrics.jsonl"))]


def _children(pid: int) -> list[int]:
    found = [int(p) for task in Path(f"/proc/{pid}/task").glob("*/children") for p in task.read_text().split()]
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
