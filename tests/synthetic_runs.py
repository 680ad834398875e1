"""Run folders that no training made: the files of the contract, with invented but plausible numbers. No torch.

Runs are seeds of arms over cells, clipping, initialisers and learning rates on the adding problem; arms differ in how
often and how fast they solve it, and some seeds diverge.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.runs.digest import digest
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.identity import hash_of_stored

CELLS = ("rnn", "lstm", "gru")
CLIPPINGS = ("none", "norm", "value")
INITIALISERS = ("orthogonal", "xavier", "identity", "henaff", "kaiming")
RATES = (0.001, 0.003, 0.01)
STEPS, EVERY, LENGTH, BASELINE = 2000, 50, 100, 1 / 6
STATE = {"lstm": ["h", "c"]}


def write_runs(folder: Path, count: int, *, seeds: int = 2, search: bool = False, rng: np.random.Generator) -> None:
    """`count` run folders below `folder`: arms one after the other, then again with other seeds.

    Args:
        seeds: per run.
        search: no configuration comes twice, as in a search: every run is an arm.
    """
    arms = list(product(CELLS, CLIPPINGS, INITIALISERS, RATES))
    for number in range(count):
        turn, arm = divmod(number, len(arms))
        cell, clipping, initialiser, lr = arms[arm]
        changes = {"cell": cell, "clipping": clipping, "initialiser": initialiser, "optimiser.lr": lr}
        if search:
            changes["clipping.max_norm"] = (number + 1) / 100
        name = f"adding-{cell}-tanh-{initialiser}-{clipping}-adam-{number:08x}"
        write_run(folder / name, changes, seeds=list(range(turn * seeds, (turn + 1) * seeds)), rng=rng)


def write_run(
    path: Path,
    changes: dict[str, Any] | None = None,
    *,
    seeds: list[int],
    rng: np.random.Generator,
    solve_at: float | None = None,
    status: str = "finished",
    diverging: float = 0.03,
) -> None:
    """One run folder.

    Args:
        changes: keys with dots, group options by their names.
        solve_at: the typical update at which a seed solves the task; None: drawn.
        status: of the manifest; only a finished run has a summary.
        diverging: the chance of a seed to diverge.
    """
    config = _config(changes or {}, seeds)
    steps, every = int(config["steps"]), int(config["evaluate"]["every"])
    typical = rng.uniform(0.2, 1.6) * steps if solve_at is None else solve_at
    rows: list[dict[str, Any]] = []
    results = [_seed(seed, typical, steps, every, diverging, rows, rng) for seed in seeds]
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.write_config(config)
    lines = "".join(json.dumps(row) + "\n" for row in sorted(rows, key=_order)).encode()
    folder.metrics.write_bytes(lines)
    files = {"metrics.jsonl": digest(lines), "adjoints.npz": folder.write_adjoints(_adjoints(config, results, rng))}
    if status == "finished":
        files["summary.json"] = folder.write_json("summary.json", _summary(path, results))
    folder.write_manifest(_manifest(path, seeds, config, status) | {"files": files})


def _order(row: dict[str, Any]) -> int:
    return row["step"]


def _config(changes: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "task": {"_target_": "rnnlab.tasks.adding.Adding", "length": LENGTH, "batch": 32, "solved_mse": 0.01},
        "cell": {"_target_": "rnnlab.cells.rnn.RNN", "hidden": 64},
        "activation": {"_target_": "rnnlab.activations.tanh.Tanh"},
        "initialiser": {"_target_": "rnnlab.initialisers.orthogonal.Orthogonal", "gain": 1.0},
        "clipping": {"_target_": "rnnlab.clipping.norm.NormClipping", "max_norm": 1.0},
        "optimiser": {"_target_": "rnnlab.optimisers.adam.Adam", "lr": 0.01, "recurrent_lr_factor": 1.0},
        "seeds": seeds,
        "name": "synthetic",
        "steps": STEPS,
        "stop_when_solved": True,
        "device": "auto",
        "evaluate": {"every": EVERY, "examples": 250},
        "probe": {"every": 100},
    }
    for key, value in changes.items():
        group, _, leaf = key.partition(".")
        if leaf:
            config[group][leaf] = value
        elif isinstance(config.get(group), dict):
            config[group]["_target_"] = f"rnnlab.{group}s.{value}.{str(value).title()}"
        else:
            config[group] = value
    return config


def _seed(
    seed: int,
    typical: float,
    steps: int,
    every: int,
    diverging: float,
    rows: list[dict[str, Any]],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """One seed's result; its lines of metrics are appended. The loss falls once, around the step where it solves."""
    solve = typical * rng.lognormal(0, 0.25)
    end = int(rng.integers(1, max(2, int(min(steps, 0.8 * solve))))) if rng.uniform() < diverging else None
    loss, accuracy, step = 1.0, 0.0, 0
    for step in range(0, steps + 1, every):
        if end is not None and step >= end:
            rows.append({"step": end, "seed": seed, "split": "train", "loss": None, "grad_norm": None})
            return _result(seed, "diverged", end, None, loss, accuracy)
        loss = float(BASELINE / (1 + np.exp((step - 0.9 * solve) / (0.04 * solve))) + 0.004) * rng.lognormal(0, 0.05)
        accuracy = float(np.clip(1 - 4 * loss, 0, 1))
        solved = step > 0 and loss < 0.01
        rows.append({"step": step, "seed": seed, "split": "eval", "loss": loss, "baseline": BASELINE})
        rows[-1] |= {"accuracy": accuracy, "solved": solved}
        if step:
            rows.append({"step": step, "seed": seed, "split": "train", "loss": loss, "grad_norm": 1.0, "lr": 0.01})
        if solved:
            return _result(seed, "solved", step, step, loss, accuracy)
    return _result(seed, "unsolved", step, None, loss, accuracy)


def _result(seed: int, status: str, steps: int, solved: int | None, loss: float, accuracy: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "status": status,
        "steps_to_solve": solved,
        "steps": steps,
        "final_eval_loss": loss,
        "best_eval_loss": loss,
        "final_eval_accuracy": accuracy,
        "best_eval_accuracy": accuracy,
        "milestones": {},
    }


TASK = {
    "baseline": BASELINE,
    "unit": "squared error",
    "metric": "accuracy",
    "metric_unit": "share",
    "metric_better": "higher",
    "solved_when": "MSE < 0.01",
}


def _manifest(path: Path, seeds: list[int], config: dict[str, Any], status: str) -> dict[str, Any]:
    return {
        "run_id": path.name,
        "name": "synthetic",
        "status": status,
        "versions": {"python": "3.11.7", "rnnlab": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "git_commit": None,
        "machine": {"system": "synthetic", "processor": "none", "cores": 2},
        "device": "cpu",
        "threads": 1,
        "engine": "fused",
        "seeds": seeds,
        "parameters": {"rnn": 4353, "gru": 12993}.get(config["cell"]["_target_"].split(".")[-2], 17217),
        "task": TASK,
        "start": "2026-01-01T00:00:00+00:00",
        "end": "2026-01-01T00:10:00+00:00",
        "configuration": hash_of_stored(config, device="cpu", engine="fused"),
        "sources": {},
        "sessions": [{"from_step": 0, "to_step": STEPS, "training_seconds": 20.0, "training_steps": STEPS}],
    }


def _summary(path: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    told = {"run_id": path.name, **TASK, "milestones": [], "parameters": 4353, "seconds_per_step": 0.01}
    return told | {"seeds": results}


def _adjoints(config: dict[str, Any], results: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Straight lines in the logarithm, of a slope that shrinks with training; NaN where a seed had ended."""
    seeds = [result["seed"] for result in results]
    every, length = int(config["probe"]["every"]), int(config["task"]["length"])
    state = STATE.get(config["cell"]["_target_"].split(".")[-2], ["h"])
    step = np.array([1, *range(every, int(config["steps"]) + 1, every)])
    slope_PR = rng.uniform(0.0, 0.1, (1, len(seeds))) * np.exp(-step[:, None] / STEPS)
    log_PRST = np.repeat((slope_PR[..., None] * (np.arange(length) - length))[:, :, None], len(state), axis=2)
    norm_PRST = 10**log_PRST
    ended_PR = step[:, None] > np.array([result["steps"] for result in results])
    norm_PRST[ended_PR] = np.nan
    return {"step": step, "seed": np.array(seeds), "norm": norm_PRST, "state": np.array(state)}
