"""The share of a training step that is not the work itself: what the platform costs.

A real run (rnnlab.bench.measured_run) on one thread, with the shipped log, probe and evaluation schedules,
is timed by part.

The work is: unroll, readout, loss, backward, the optimiser's step, and freeing the graph. A loop frees the
graph of a step when it overwrites it at the next, in no function of its own; its time is measured in the
bare loop below and taken out of `rest`. Everything else is overhead: data, clipping and norms, copying and
checking the parameters, handing gradients over, logging, TensorBoard, probing (also what a probed step's
hooks cost), checkpoints (one checkpoint's time spread over the steps between two). Evaluation is work of
another kind and reported apart, as are start and end.

As a check that the timers do not deceive: after every ten steps the run pauses for ten steps of bare work
on the same shapes, in the same process (A B A B …). `overhead_share_interleaved` compares the medians of
the two kinds of block and uses no part. (A block of ten steps holds one line of metrics; a probe falls into
one block in ten.)

What probing costs is a small difference of two large times; on a busy machine it may come out below zero.
TensorBoard's pictures come on top when a run is long: the sink limits them to 2 % of the
elapsed time.
"""

from collections.abc import Callable
from statistics import mean, median
from typing import Any

from rich.table import Table

from rnnlab.bench.measured_run import BLOCK, WARM_UP, MeasuredRun, whole_blocks
from rnnlab.bench.timing import small_table
from rnnlab.bench.work import BareStep, StepSeconds, torch_threads, training_configuration
from rnnlab.experiment import Experiment

TARGET = 0.05
"""The share that the overhead should not exceed."""
WORK = ("forward", "backward", "optimiser", "release")


def measure(
    *, cell: str, length: int, batch: int, hidden: int, replicas: int, steps: int, engine: str, tensorboard: bool
) -> dict[str, Any]:
    """Seconds per step in all and by part, and the share that is overhead."""
    steps = whole_blocks(steps)
    overrides = [
        f"steps={WARM_UP + steps}",
        f"seeds={replicas}",
        f"engine={engine}",
        f"tensorboard={str(tensorboard).lower()}",
        "stop_when_solved=false",
    ]
    config = training_configuration(cell=cell, length=length, batch=batch, hidden=hidden, overrides=overrides)
    run = MeasuredRun(config, _bare_work)
    with torch_threads(1):
        run.run()
    return _result(run, steps)


def _bare_work(experiment: Experiment) -> Callable[[], list[StepSeconds]]:
    bare = BareStep(experiment, experiment.config.seeds)
    return lambda: [bare.run() for _ in range(BLOCK)]


def _result(run: MeasuredRun, steps: int) -> dict[str, Any]:
    """What was counted, per step."""
    parts = run.parts_s(steps)
    release_s = mean(s.release for block in run.other for s in block)
    parts["release"] = release_s
    parts["rest"] -= release_s
    step_s, work_s = sum(parts.values()), sum(parts[name] for name in WORK)
    loop_block_s = median(run.blocks_s())
    bare_block_s = median(sum(s.total for s in block) for block in run.other)
    return {
        "steps": steps,
        "engine": run.engine,
        "step_s": step_s,
        "work_s": work_s,
        "loop_block_s": loop_block_s,
        "bare_block_s": bare_block_s,
        "parts_s": dict(sorted(parts.items(), key=lambda item: -item[1])),
        "overhead_share": 1 - work_s / step_s,
        "overhead_share_interleaved": 1 - bare_block_s / loop_block_s,
        "target overhead_share": TARGET,
        "evaluation_s_per_step": run.counted.get("evaluation", 0.0) / steps,
        "start_and_end_s": run.outside,
    }


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row per part, the largest first, and the share."""
    table = small_table(f"one training step, engine {result['engine']}", "part", "ms", "share")
    for name, seconds in result["parts_s"].items():
        table.add_row(name, f"{1e3 * seconds:.3f}", f"{100 * seconds / result['step_s']:.2f} %")
    table.add_section()
    table.add_row("step", f"{1e3 * result['step_s']:.3f}", "")
    return [
        table,
        f"overhead {100 * result['overhead_share']:.1f} % of a step (target <= {100 * TARGET:g} %), "
        f"against interleaved bare work {100 * result['overhead_share_interleaved']:.1f} %",
        f"apart: evaluation {1e3 * result['evaluation_s_per_step']:.2f} ms per step, "
        f"start and end of the run {result['start_and_end_s']:.1f} s",
    ]
