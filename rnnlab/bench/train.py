"""The whole training step with its adjoint norms, against a plain script that records nothing.

Ours is a real run of `+experiment=adding` (rnnlab.bench.measured_run) that records the norm of every state's adjoint at
every training step and writes a line of metrics for it (probe.every=1), every update guarded and checkpoints written.
TensorBoard is off, evaluation is left out. The script is rnnlab.bench.script. One seed stands against one script, and a
population of eight against eight scripts one after the other; the run pauses for the scripts after every ten steps.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from rich.table import Table

from rnnlab.bench import script
from rnnlab.bench.measured_run import BLOCK, WARM_UP, MeasuredRun, whole_blocks
from rnnlab.bench.targets import TRAIN
from rnnlab.bench.timing import small_table
from rnnlab.bench.work import configuration, torch_threads
from rnnlab.experiment import Experiment
from rnnlab.schema import Config

SEEDS = 8
PAIRS = {"one_seed/script": ("one_seed", "script"), "eight_seeds/eight_scripts": ("eight_seeds", "eight_scripts")}


def measure(*, cell: str, length: int, batch: int, hidden: int, threads: int, steps: int) -> dict[str, Any]:
    """`NAME_s`: median seconds of a step (of the whole population, of all its scripts), ours with parts, and ratios."""
    steps = whole_blocks(steps)
    result: dict[str, Any] = {"steps": steps, "spread": {}, "parts_s": {}}
    for ratio, (ours, theirs) in PAIRS.items():
        seeds = 1 if ours == "one_seed" else SEEDS
        config = _configuration(cell, length, batch, hidden, seeds, threads, steps)
        run = MeasuredRun(config, partial(_scripts, threads=threads))
        run.run()
        parts = run.parts_s(steps)
        blocks = {
            ours: [s / BLOCK + run.checkpoint_s() for s in run.blocks_s()],
            theirs: [s / BLOCK for s in run.other],
        }
        for name, seconds in blocks.items():
            result[f"{name}_s"] = median(seconds)
            result["spread"][f"{name}_s"] = [min(seconds), max(seconds)]
        result[ratio] = result[f"{ours}_s"] / result[f"{theirs}_s"]
        result[f"lowest {ratio}"] = min(blocks[ours]) / min(blocks[theirs])
        result[f"target {ratio}"] = TRAIN[ratio]
        result["parts_s"][ours] = dict(sorted(parts.items(), key=lambda item: -item[1]))
        result["engine"] = run.engine
    return result


def _configuration(
    cell: str, length: int, batch: int, hidden: int, seeds: int, threads: int, steps: int
) -> Config:  # fmt: skip
    return configuration(
        "+experiment=adding",
        f"cell={cell}",
        f"cell.hidden={hidden}",
        f"task.length={length}",
        f"task.batch={batch}",
        f"seeds={seeds}",
        f"steps={WARM_UP + steps}",
        f"threads={threads}",
        "probe.every=1",
        "tensorboard=false",
        "stop_when_solved=false",
        "device=cpu",
    )


def _scripts(experiment: Experiment, *, threads: int) -> Callable[[], float]:
    """One script per seed, at the experiment's sizes; a call takes all of them a block further."""
    parts = experiment.config.components
    runs = [
        script.train(
            experiment.config.option("cell"),
            length=parts["task"]["length"],
            batch=parts["task"]["batch"],
            hidden=parts["cell"]["hidden"],
            lr=parts["optimiser"]["lr"],
            max_norm=parts["clipping"]["max_norm"],
            seed=seed,
        )
        for seed in experiment.config.seeds
    ]

    def block() -> float:
        with torch_threads(threads):
            began = time.perf_counter()
            for run in runs:
                for _ in range(BLOCK):
                    next(run)
            return time.perf_counter() - began

    return block


def show(result: dict[str, Any]) -> list[Table | str]:
    """Medians with their ratios, and the parts of our step."""
    table = small_table(f"a training step, engine {result['engine']}", "", "median ms", "lowest", "highest")
    for name, (lowest, highest) in result["spread"].items():
        table.add_row(name.removesuffix("_s"), *(f"{1e3 * s:.2f}" for s in (result[name], lowest, highest)))
    parts = small_table("where our step goes, ms (mean)", "part", *result["parts_s"])
    one, eight = result["parts_s"].values()
    for name in eight:
        parts.add_row(name, f"{1e3 * one.get(name, 0.0):.3f}", f"{1e3 * eight[name]:.3f}")
    ratios = [
        f"{ratio} {result[ratio]:.2f}, of the lowest {result[f'lowest {ratio}']:.2f} (target <= {target:g})"
        for ratio, target in TRAIN.items()
    ]
    return [table, parts, *ratios]
