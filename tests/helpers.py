"""What several tests need: running the command line in this process or in another, and reading a run folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import prepared
import torch

from rnnlab.cli import run_command_line
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.digest import digest
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.identity import hash_of_stored
from rnnlab.runs.record import Record
from rnnlab.runs.stored_config import CHECKSUM, parse_config

TINY = [
    "tensorboard=false",
    "cell.hidden=6",
    "task=adding",
    "task.length=7",
    "task.batch=3",
    "steps=12",
    "log.every=3",
    "evaluate.every=4",
    "evaluate.examples=20",
    "probe.every=5",
    "checkpoint.every=4",
]


def rnnlab(*arguments: str) -> int:
    """The command line in this process; `arguments` after the tiny defaults. Returns the exit status."""
    return run_command_line([*TINY, *arguments])


def start(
    folder: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    program: Sequence[str] = ("-m", "rnnlab"),
    popen: Callable[..., "subprocess.Popen[str]"] = subprocess.Popen,
    **options: Any,
) -> "subprocess.Popen[str]":
    """`python -m rnnlab`, or another program of Python's, as a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return popen(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        **{**pipes, **options},
    )


def forked(
    folder: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    program: Sequence[str] = ("-m", "rnnlab"),
    **options: Any,
) -> "subprocess.Popen[str]":
    """As `start`, from a process that has imported what it needs: where nothing is tested of how Python starts."""
    return start(folder, *arguments, environment=environment, program=program, popen=prepared.popen, **options)


def only_run(name: str = "default") -> Path:
    """The one run folder of a name, below the current folder."""
    (folder,) = (p for p in Path("runs", name).iterdir() if p.is_dir())
    return folder


def metrics(folder: Path, seed: int | None = None) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, of one seed or all."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if seed is None or row["seed"] == seed]


def read(folder: Path, name: str) -> Any:
    """A JSON file of a run folder."""
    return json.loads((folder / name).read_text())


def adjoints(folder: Path) -> dict[str, np.ndarray]:
    """adjoints.npz."""
    with np.load(folder / "adjoints.npz") as data:
        return dict(data)


def weights(folder: Path, seed: int) -> dict[str, torch.Tensor]:
    """One seed's parameters in the newest checkpoint."""
    newest = max((folder / "checkpoint").glob("step-*.pt"))
    return torch.load(newest, weights_only=True)["population"]["weights"][str(seed)]


def read_probes(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """What a run's probes measured, by training step."""
    return dict(Record(folder).probes())


def seal(folder: Path, **changes: Any) -> None:
    """Have manifest.json, with some entries changed, and config.yaml vouch for the files as they are now."""
    manifest = read(folder, "manifest.json") | changes
    with suppress(DamagedError):  # what is no configuration has no hash
        stored = parse_config(folder / "config.yaml", (folder / "config.yaml").read_bytes())
        manifest["configuration"] = hash_of_stored(stored, device="cpu", engine=manifest["engine"])
    there = [name for name in manifest["files"] if (folder / name).exists()]
    manifest["files"] = {name: digest((folder / name).read_bytes()) for name in there}
    RunFolder(folder).write_manifest(manifest)
    head, mark, rest = (folder / "config.yaml").read_text().partition(CHECKSUM)
    body = rest.partition("\n")[2]
    (folder / "config.yaml").write_text(f"{head}{mark}{digest(body.encode())['sha256']}\n{body}")


def canonical_files(folder: Path) -> dict[str, Any]:
    """Everything in a run folder that must not depend on interruptions: no wall times, no event files."""
    summary = read(folder, "summary.json")
    summary.pop("seconds_per_step")
    files: dict[str, Any] = {"summary": summary}
    for name in ("metrics.jsonl", "adjoints.npz", "config.yaml"):
        files[name] = (folder / name).read_bytes()
    files["checkpoints"] = sorted(p.name for p in (folder / "checkpoint").iterdir())
    return files
