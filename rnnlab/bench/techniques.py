"""What each technique costs: a training step with it over the same step without it, for docs/techniques.md.

The arms are those of the experiment techniques_adding. An arm's first override is the technique, the others are what it
is natural with; the step without it has the others alone (with `GROUP=none`), and for a cell `cell=rnn`. Both take
turns, a block of real training steps each (data, unroll, loss, backward, clipping, update; no files, no evaluation), on
one thread, and both by the engine that `auto` takes with the technique: a fallback from the fused engine is told, not
counted.
"""

import statistics
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table

from rnnlab.bench.timing import small_table
from rnnlab.bench.work import configuration, torch_threads
from rnnlab.build import build
from rnnlab.cli import config_folder
from rnnlab.probes.adjoint_record import AdjointRecord
from rnnlab.probes.prober import Prober
from rnnlab.training.loop import Progress, Result, Stopwatch, train
from rnnlab.training.population import Population

PLAIN_CELL = "cell=rnn"


def measure(*, length: int, batch: int, hidden: int, steps: int, repetitions: int) -> dict[str, Any]:
    """By each arm's technique: `ratio`, a median over the repetitions, and the `engine`."""
    sizes = ["+experiment=adding", f"task.length={length}", f"task.batch={batch}", f"cell.hidden={hidden}", "seeds=1"]
    sizes += ["threads=1", "device=cpu", f"steps={steps}", "probe.every=0", f"evaluate.every={2 * steps}"]
    found = {}
    with torch_threads(1):
        for arm in arms():
            technique, *others = arm.split()
            without = [PLAIN_CELL] if technique.startswith("cell=") else [*_nothing(technique), *others]
            engine = build(configuration(*sizes, *arm.split())).engine.name
            both = [[*sizes, f"engine={engine}", *overrides] for overrides in (arm.split(), without)]
            ratios = [_step_seconds(both[0]) / _step_seconds(both[1]) for _ in range(repetitions)]
            found[technique] = {"ratio": round(statistics.median(ratios), 2), "engine": engine}
    return {"cost": found}


def arms() -> list[str]:
    """The arms of the experiment, each a string of overrides."""
    return list(OmegaConf.load(config_folder() / "experiment" / "techniques_adding.yaml").hydra.sweeper.arms)


def _nothing(technique: str) -> list[str]:
    """The override that leaves the technique's group out, where it has one: its default may be another technique."""
    group = technique.partition("=")[0]
    return [f"{group}=none"] if (config_folder() / group / "none.yaml").exists() else []


def _step_seconds(overrides: list[str]) -> float:
    """Mean seconds of a step, the first ones left out."""
    experiment = build(configuration(*overrides))
    seeds = experiment.config.seeds
    population = Population(experiment.model(seeds), seeds, experiment.optimiser, experiment.clipping)
    progress = Progress(0, {seed: Result() for seed in seeds})
    record = AdjointRecord(seeds, population.model.cell.states, experiment.task.steps)
    watch, asked, warm = Stopwatch(), 0, experiment.config.steps // 4
    begun = (0.0, 0)

    def interrupted() -> bool:
        nonlocal asked, begun
        asked += 1
        if asked == warm:
            begun = (watch.seconds, watch.steps)
        return False

    train(
        experiment, population, progress, record, Prober(experiment, seeds), [],
        save=lambda **_: None, interrupted=interrupted, watch=watch,
    )  # fmt: skip
    return (watch.seconds - begun[0]) / max(1, watch.steps - begun[1])


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row per technique."""
    table = small_table("a training step with the technique over one without", "technique", "ratio", "engine")
    for technique, of in result["cost"].items():
        table.add_row(technique, f"{of['ratio']:.2f}", of["engine"])
    return [table]
