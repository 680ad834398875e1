"""What about forty short runs come to, as digests: to be held against those of another commit on the same machine.

`python tests/yardstick.py > before`, change the code, once more `> after`, `diff before after`: what was not meant to
change a result has changed no line. A line is a run: its settings, then eight hexadecimal digits each of metrics,
adjoint norms, what the probes measured, what the diagnosis found, and the trained weights with all that a checkpoint
holds of the training. Names and ids are left out.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rnnlab.cli import run_command_line
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.training import session
from rnnlab.training.loop import train

BASE = ["tensorboard=false", "steps=12", "seeds=2", "log.every=3", "evaluate.every=4", "evaluate.examples=20"]
BASE += ["probe.every=5", "checkpoint.every=4", "threads=1", "device=cpu"]
ADDING = ["task=adding", "task.length=9", "task.batch=3", "cell.hidden=6"]
COPY = ["task=copy", "task.length=4", "task.batch=3", "cell.hidden=6"]
PROBED = ["probes=full", "probes.jacobian.first=4", "probes.lyapunov.first=4"]
RUNS = {
    "fused rnn": [*ADDING, "cell=rnn", "engine=fused"],
    "fused lstm, recomputed": [*ADDING, "cell=lstm", "engine=fused", "recompute=2"],
    "fused gru, scored steps": [*COPY, "cell=gru", "engine=fused"],
    "autograd lstm": [*ADDING, "cell=lstm", "engine=autograd", "dtype=float64"],
    "scan mingru": [*ADDING, "cell=mingru", "engine=scan"],
    "scan lru": [*COPY, "cell=lru", "engine=scan"],
    "masked sequences": ["task=adding", "task.length=9", "task.batch=3", "cell=gru", "cell.hidden=6"],
    "images": ["task=smnist", "task.source=digits", "task.batch=3", "cell=rnn", "cell.hidden=6"],
    "images, lstm": ["task=smnist", "task.source=digits", "task.batch=3", "cell=lstm", "cell.hidden=4"],
    "lstm of 1997": [*ADDING, "cell=lstm1997"],
    "layer norm": [*ADDING, "cell=gru_layernorm"],
    "coRNN": [*ADDING, "cell=cornn", "optimiser=rmsprop"],
    "LEM": [*ADDING, "cell=lem", "clipping=none"],
    "IndRNN, bounded": [*ADDING, "cell=indrnn", "activation=relu", "initialiser=uniform", "parametrisation=bounded"],
    "exponential": [*COPY, "cell=rnn", "parametrisation=exponential", "activation=modrelu"],
    "householder": [*ADDING, "cell=rnn", "parametrisation=householder", "schedule=warmup_cosine", "schedule.warmup=3"],
    "weight norm": [*ADDING, "cell=gru", "parametrisation=weight_norm", "optimiser=adamw"],
    "omega": [*ADDING, "cell=rnn", "regulariser=omega", "initialiser=xavier"],
    "temporal activation": [*ADDING, "cell=lstm", "regulariser=temporal_activation", "bias_initialiser=chrono"],
    "variational dropout": [*ADDING, "cell=lstm", "dropout=variational"],
    "zoneout": [*ADDING, "cell=gru", "dropout=zoneout", "engine=autograd"],
    "dropout of the candidate": [*ADDING, "cell=lstm", "dropout=candidate"],
    "truncated at random": [*ADDING, "cell=rnn", "adjoint=truncate_random", "adjoint.every=3"],
    "truncated without bias": [*ADDING, "cell=rnn", "adjoint=truncate_unbiased", "engine=autograd"],
    "adjoint clipped": [*COPY, "cell=gru", "adjoint=clip_relative"],
    "h-detach": [*ADDING, "cell=lstm", "adjoint=h_detach"],
    "autoclip, noise": [*ADDING, "cell=rnn", "clipping=autoclip", "gradient_noise=annealed", "optimiser=sgd"],
    "zclip": [*ADDING, "cell=gru", "clipping=zclip", "optimiser=radam"],
    "agc, muon": [*ADDING, "cell=rnn", "clipping=agc", "optimiser=muon"],
    "block norm, adafactor": [*ADDING, "cell=lstm", "clipping=block_norm", "optimiser=adafactor"],
    "pascanu": [*ADDING, "cell=rnn", "clipping=pascanu", "initialiser=spectral_radius"],
    "stacked": [*ADDING, "cell=lstm", "architecture=stacked", "dropout=non_recurrent", *PROBED],
    "bidirectional": [*COPY, "cell=gru", "architecture=bidirectional", "architecture.layers=2", *PROBED],
    "both ends": [*ADDING, "cell=rnn", "architecture=bidirectional", "architecture.read=ends", "task.shortest=4"],
    "chain of clippings": [*ADDING, "cell=rnn", "clipping=[autoclip,agc,norm]"],
    "every probe, lstm": [*ADDING, "cell=lstm", *PROBED],
    "every probe, rnn": [*COPY, "cell=rnn", *PROBED],
    "diverging": [*ADDING, "cell=rnn", "optimiser=sgd", "optimiser.lr=1e20", "clipping=none", "activation=relu"],
    "solved, resting": [*ADDING, "cell=rnn", "seeds=4", "task.solved_mse=0.3", "stop_when_solved=true"],
    "interrupted, gone on with": [*ADDING, "cell=lstm", "clipping=zclip", *PROBED],
    "longer": [*ADDING, "cell=gru", "optimiser=nadam"],
}


def digest(parts: Iterable[bytes]) -> str:
    content = hashlib.sha256()
    for part in parts:
        content.update(hashlib.sha256(part).digest())
    return content.hexdigest()[:8]


def arrays(path: Path) -> Iterable[bytes]:
    """Names, shapes and bytes of an npz file's arrays."""
    with np.load(path) as file:
        for name in sorted(file):
            yield f"{path.name} {name} {file[name].dtype} {file[name].shape}".encode() + file[name].tobytes()


def flat(value: Any, name: str = "") -> Iterable[bytes]:
    """All that a state holds, in the order of its names."""
    if isinstance(value, torch.Tensor):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes()
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from flat(value[key], f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for k, inner in enumerate(value):
            yield from flat(inner, f"{name}.{k}")
    else:
        yield f"{name} {value!r}".encode()


def trained(name: str, settings: list[str]) -> Path:
    """The run folder, newest where there are several."""
    if name == "interrupted, gone on with":
        stopping = lambda *a, **k: train(*a, **{**k, "interrupted": lambda: a[2].step >= 7})  # noqa: E731
        with mock.patch.object(session, "train", stopping):
            assert run_command_line([*BASE, *settings]) == 130
    if name == "longer":
        assert run_command_line([*BASE, *settings, "steps=8"]) == 0
    assert run_command_line([*BASE, *settings]) == 0, settings
    return max(Path("runs/default").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)


def line(name: str, settings: list[str]) -> str:
    folder = trained(name, settings)
    state = torch.load(max((folder / "checkpoint").glob("*.pt")), weights_only=True)
    summary = json.loads((folder / "summary.json").read_text())
    summary = {key: value for key, value in summary.items() if key not in ("run_id", "seconds_per_step")}
    with contextlib.redirect_stdout(io.StringIO()):
        diagnose([str(folder), "--examples", "3", "--out", "diagnosis"])
    told = "\n".join(row for row in Path("diagnosis/diagnosis.md").read_text().splitlines() if folder.name not in row)
    figures = {
        "metrics": digest([(folder / "metrics.jsonl").read_bytes(), json.dumps(summary, sort_keys=True).encode()]),
        "adjoints": digest(arrays(folder / "adjoints.npz")),
        "probes": digest(part for path in sorted((folder / "probes").glob("*")) for part in arrays(path)),
        "diagnosis": digest([told.encode()]),
        "state": digest(flat({part: state[part] for part in ("population", "progress", "adjoints", "prober")})),
    }
    return f"{name:36} {'  '.join(f'{part} {value}' for part, value in figures.items())}"


def main() -> None:
    chosen = {name: RUNS[name] for name in RUNS if not sys.argv[1:] or any(word in name for word in sys.argv[1:])}
    for name, settings in chosen.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                try:
                    told = line(name, settings)
                except BaseException:
                    os.write(2, said.getvalue().encode())
                    raise
        print(told, flush=True)


if __name__ == "__main__":
    main()
