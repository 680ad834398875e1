"""What each probe of a bundle costs: one measurement, and at its schedule the share of a run.

A measurement is all that a probed step adds: the copies of model and gradients, the probe itself, and its file. It
takes turns with the bare training step (unroll, readout, loss, backward, the optimiser's step), on one thread; the
share is that of so many bare steps, so a real run's is a little smaller. Each probe is taken alone; where several fall
on one step they share copies and file.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from rnnlab.bench.timing import interleaved, small_table
from rnnlab.bench.work import BareStep, torch_threads, training_configuration
from rnnlab.build import build
from rnnlab.experiment import Experiment
from rnnlab.probes.probe import Probe
from rnnlab.sinks.probe_files import ProbeFiles
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population
from rnnlab.training.prober import Prober

TARGET = 0.02
"""The share of a run that the bundle `cheap` should not exceed."""


def measure(
    *, cell: str, length: int, batch: int, hidden: int, bundle: str, steps: int, repetitions: int
) -> dict[str, Any]:
    """Seconds of a bare step and of one measurement of each probe; how many a run has; their shares of the run."""
    overrides = [f"probes={bundle}", "threads=1", f"steps={steps}", "tensorboard=false"]
    config = training_configuration(cell=cell, length=length, batch=batch, hidden=hidden, overrides=overrides)
    with torch_threads(1), tempfile.TemporaryDirectory() as folder:
        experiment = build(config)
        bare = BareStep(experiment, config.seeds)
        work = {name: _measurement(experiment, name, probe, Path(folder)) for name, probe in experiment.probes.items()}
        spreads = interleaved({"step": bare.run, **work}, repetitions, least_s=0.1)
    step_s = spreads.pop("step").median
    times = {name: sum(map(table.due, range(1, steps + 1))) for name, table in experiment.timetables.items()}
    probes = {
        name: {
            "s": spread.median,
            "spread": [spread.lowest, spread.highest],
            "measurements": times[name],
            "share": spread.median * times[name] / (steps * step_s),
        }
        for name, spread in spreads.items()
    }
    share = sum(of["share"] for of in probes.values())
    return {"engine": experiment.engine.name, "step_s": step_s, "probes": probes, "share": share, "target": TARGET}


def _measurement(experiment: Experiment, name: str, probe: Probe, folder: Path) -> Callable[[], None]:
    """One probe's part of a step that its timetable has, on one fixed batch."""
    seeds, task = experiment.config.seeds, experiment.task
    population = Population(experiment.model(seeds), seeds, experiment.optimiser, experiment.clipping)
    batch = stack([task.training_batch(s, 1) for s in seeds]).to(experiment.device, experiment.dtype)
    model = population.model.plain()
    unrolled = experiment.engine.unroll(
        model.cell,
        batch.input,
        rule=experiment.rule.draw(seeds, 1, len(batch.input), batch.input),
        record=True,
        last=task.scored,
    )
    loss_RB = task.losses(model.readout(unrolled.output_KRBH), batch)
    loss_RB.sum().backward()
    gradients, norms = population.gradients(model, examples=loss_RB.shape[1]), unrolled.adjoint_norm_STRB
    prober = Prober(experiment, seeds)
    prober.probes = {name: probe}
    step = next(s for s in range(2, 10**6) if experiment.timetables[name].due(s))
    before = partial(prober.before_update, population=population, model=model, batch=batch, gradients=gradients)
    files = ProbeFiles(folder / name, {})
    folder.joinpath(name).mkdir()

    def work() -> None:
        before(step - 1, adjoint_norm_STRB=None)  # keeps the gradients that the next step looks back at
        moment = before(step, adjoint_norm_STRB=norms)
        assert moment is not None
        measured = prober.measure(moment, population)
        files.probes(step, seeds, {key: value.cpu().numpy() for key, value in measured.items()})

    return work


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row per probe, and the bundle's share."""
    table = small_table(
        f"one measurement, engine {result['engine']}", "probe", "median ms", "lowest", "highest", "in a run", "share"
    )
    for name, of in result["probes"].items():
        milliseconds = (f"{1e3 * s:.2f}" for s in (of["s"], *of["spread"]))
        table.add_row(name, *milliseconds, str(of["measurements"]), f"{100 * of['share']:.2f} %")
    held_to = f"target <= {100 * result['target']:g} % for probes=cheap"
    return [
        table,
        f"a bare training step: {1e3 * result['step_s']:.2f} ms",
        f"all together {100 * result['share']:.2f} % of a run ({held_to})",
    ]
