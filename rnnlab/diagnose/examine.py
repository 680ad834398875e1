"""From a run folder to findings. Nothing in the folder is changed, and a run that is at work does not wait.

T time, B batch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.bptt.passage import prefix
from rnnlab.build import sources_of
from rnnlab.config import Config
from rnnlab.contract import OURS, ConfigError, RunError
from rnnlab.diagnose.decay import lost
from rnnlab.diagnose.findings import Findings, Measured, Replica
from rnnlab.diagnose.history import histories
from rnnlab.diagnose.measure import measure
from rnnlab.diagnose.transport import carrier
from rnnlab.diagnose.verdict import middle
from rnnlab.experiment import Experiment
from rnnlab.report.reading import Run
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.sources import changed
from rnnlab.schema import validate
from rnnlab.tasks.task import Batch, Marks, Task
from rnnlab.training import checkpoint
from rnnlab.training.trained import put, to_look_at

HELD_OUT = 250
"""Examples that the loss is measured on."""
CPU = torch.device("cpu")


def examine(
    run: Run,
    seeds: Sequence[int],
    examples: int,
    say: Callable[[str], None],
    packages: Sequence[str] = (OURS,),
    *,
    changed_sources: bool = False,
) -> Findings:
    """Measure a run at its newest good checkpoint.

    Args:
        run: as `rnnlab.report.reading.read` reads it.
        seeds: of the run; all when empty.
        examples: in the diagnostic batch, the first held-out ones.
        say: is told what is passed over, and how far it has come.
        packages: that the user allows components to come from.
        changed_sources: measure although code or data of the user's own are not those of the run any more.
    Raises:
        ConfigError: these are not seeds of the run, or its configuration cannot be carried out here.
        RunError: no checkpoint can be read, or it is of another net, or its sources have changed; or the net has no
            cells.
    """
    config = _config(run, packages)
    for remark in run.remarks:
        say(f"{run.path}: {remark}.")
    unknown = sorted(set(seeds) - set(config.seeds))
    if unknown:
        raise ConfigError(f"--seed {unknown[0]}: not a seed of this run. Allowed: {', '.join(map(str, config.seeds))}.")
    state, experiment = _checkpoint(run, config, say), to_look_at(config)
    task, chosen = experiment.task, list(seeds) or config.seeds
    model = experiment.model(chosen[:1]).effective()
    if not model.cells:
        raise RunError(
            f"{run.path}: its net has no cells. The diagnosis follows a gradient back through the steps of a cell, of "
            "which it says where it is lost; here none is carried from step to step. The adjoints of the layers that "
            "were recorded are drawn by python -m rnnlab.report."
        )
    difference = changed(run.manifest["sources"], sources_of(config, task))  # its probes' too
    if difference and not changed_sources:
        raise RunError(
            f"{run.path}: {difference} changed since the run (or --components does not name its package): another "
            "net's diagnosis, maybe. Undo the change; or give --changed-sources, and the page says so."
        )
    held_out = [batch.to(CPU, torch.float64) for batch in task.evaluation_batches(max(HELD_OUT, examples))]
    lag = _lag(task, batch := _first(held_out[0], examples), backward=model.architecture.reads_backward)
    first, cell = next(iter(model.cells.items()))
    name, rule = f"{prefix(first)}{carrier(cell)}", experiment.rule.draw(chosen[:1], 0, task.steps, batch.input)
    return Findings(
        path=run.path,
        state=run.state,
        update=int(state["progress"]["step"]),
        steps=config.steps,
        config=run.config,
        length=task.steps,
        lag=lag,
        marked=isinstance(task, Marks),
        scored=task.scored,
        call=prefix(first),
        carrier=name,
        cuts=tuple(t for t in range(task.steps) if rule.cuts(t)),
        baseline=task.baseline,
        unit=task.unit,
        replicas=list(_replicas(run, experiment, chosen, state["population"]["weights"], batch, held_out, say)),
        recorded=dict(_recorded(run, chosen, name, lag)),
        examples=batch.input.shape[2],
        changed=difference,
    )


def _replicas(
    run: Run,
    experiment: Experiment,
    chosen: Sequence[int],
    weights: dict[str, dict[str, Tensor]],
    batch: Batch,
    held_out: list[Batch],
    say: Callable[[str], None],
) -> Iterator[Replica]:
    metrics = run.record.metrics("train")
    past = histories(metrics.rows if metrics.whole else [], experiment.config.seeds)
    for number, outcome in enumerate(o for o in run.outcomes if o.seed in chosen):
        say(f"Measuring seed {outcome.seed} ({number + 1} of {len(chosen)}) …")
        found = _measured(experiment, outcome.seed, weights, batch, held_out)
        yield Replica(outcome.seed, outcome.status, outcome.steps, past[outcome.seed], found)


def _config(run: Run, packages: Sequence[str]) -> Config:
    try:
        config = validate(run.record.config, packages)
    except ConfigError as error:
        raise ConfigError(f"{run.path / 'config.yaml'}: {error}") from None
    if sorted(config.seeds) != sorted(run.manifest["seeds"]):
        raise DamagedError(run.path / "config.yaml", "has other seeds than the manifest")
    return config


def _checkpoint(run: Run, config: Config, say: Callable[[str], None]) -> dict[str, Any]:
    folder = RunFolder(run.path).checkpoints
    state = checkpoint.look(folder, run.record.manifest["run_id"], say)
    if state is not None:
        return state
    if folder.is_dir() and any(folder.glob("*.pt")):
        raise RunError(f"{run.path}: none of its checkpoints can be read; there is nothing to measure.")
    at = max((outcome.steps for outcome in run.outcomes), default=0)
    raise RunError(
        f"{run.path}: has no checkpoint yet, so there is nothing to measure. It is {run.state}, at update {at} or "
        f"later; one is written every {config.checkpoint_every} updates (checkpoint.every) and at the end."
    )


def _first(batch: Batch, examples: int) -> Batch:
    """The first so many examples, with a replica axis."""
    mask = None if batch.mask is None else batch.mask[:, :examples]
    return Batch(batch.input[:, :examples], batch.target[:, :examples], mask).shared(1)


def _measured(
    experiment: Experiment, seed: int, weights: dict[str, dict[str, Tensor]], batch: Batch, held_out: list[Batch]
) -> Measured | None:
    """None where a parameter is not finite."""
    model = experiment.model([seed]).effective().double()
    try:
        ours = weights[str(seed)]
        if not all(weight.isfinite().all() for weight in ours.values()):
            return None
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"The checkpoint is not of the net that config.yaml describes ({error}).") from error
    put(ours, model, 0)
    return measure(experiment, seed, model, batch, held_out)


def _lag(task: Task, batch: Batch, *, backward: bool) -> int:
    """How many steps before the last the earliest marked step lies, in the order of reading, in the median example."""
    if not isinstance(task, Marks):
        return task.steps - 1
    marked_TB = task.marked(batch)[:, 0]
    first_B = (marked_TB.flip(0) if backward else marked_TB).byte().argmax(0)
    return task.steps - 1 - int(first_B.median())


def _recorded(run: Run, seeds: Sequence[int], state: str, lag: int) -> Iterator[tuple[int, float]]:
    """(update, decades) from adjoints.npz."""
    found = run.adjoints()
    if found is None or state not in found.state or found.norm_PRST.shape[3] <= lag:
        return
    norm_PRT = found.norm_PRST[:, np.isin(found.seed, seeds), found.state.index(state)]
    for step, norm_RT in zip(found.step, norm_PRT, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            decades = middle([-lost(norm_T / norm_T[-1], lag) for norm_T in norm_RT])
        if not np.isnan(decades):
            yield int(step), decades
