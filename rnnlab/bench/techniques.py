"""What each technique costs: a training step with it over the same step without it, for docs/techniques.md.

The arms are those of the experiment techniques_adding. An arm's first override is the technique, the others are what it
is natural with; the step without it has the others alone (with `GROUP=none`), and for a cell `cell=rnn`. Both take
turns, a block of real training steps each (data, unroll, loss, backward, clipping, update; no files, no evaluation), on
one thread, and both by the engine that `auto` takes with the technique: a fallback from the fused engine is told, not
counted. A linear recurrence runs by `scan`, which the plain cell cannot: that one runs by `autograd`, PyTorch's
operations as well.
"""

import statistics
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table

from rnnlab.bench.timing import small_table
from rnnlab.bench.work import configuration, torch_threads
from rnnlab.build import build
from rnnlab.runs.adjoints import AdjointRecord
from rnnlab.runs.progress import Progress, Result
from rnnlab.schema import config_folder
from rnnlab.training.ledger import Stopwatch
from rnnlab.training.loop import train
from rnnlab.training.population import Population
from rnnlab.training.prober import Prober

PLAIN_CELL = "cell=rnn"
WARM = 4  # the first steps of a block, not counted
MOST = 10_000  # steps of a block


def measure(*, length: int, batch: int, hidden: int, seconds: float, repetitions: int) -> dict[str, Any]:
    """By each arm's technique: `ratio`, a median over the repetitions, and the `engine`."""
    sizes = ["+experiment=adding", f"task.length={length}", f"task.batch={batch}", f"cell.hidden={hidden}", "seeds=1"]
    sizes += ["threads=1", "device=cpu", f"steps={MOST}", "probe.every=0", f"evaluate.every={MOST}"]
    found = {}
    with torch_threads(1):
        for arm in arms():
            technique, *others = arm.split()
            group = technique.partition("=")[0]
            beside = [other for other in others if not other.startswith(f"{group}.")]
            without = [PLAIN_CELL] if group == "cell" else [*_nothing(group), *beside]
            engine = build(configuration(*sizes, *arm.split())).engine.name
            with_it = [*sizes, f"engine={engine}", *arm.split()]
            plain = [*sizes, f"engine={'autograd' if engine == 'scan' else engine}", *without]
            ratios = [_step_seconds(with_it, seconds) / _step_seconds(plain, seconds) for _ in range(repetitions)]
            found[technique] = {"ratio": round(statistics.median(ratios), 2), "engine": engine}
    return {"cost": found}


def arms() -> list[str]:
    """The arms of the experiment, each a string of overrides."""
    return list(OmegaConf.load(config_folder() / "experiment" / "techniques_adding.yaml").hydra.sweeper.arms)


def _nothing(group: str) -> list[str]:
    """The override that leaves the group out, where it has one: its default may be another technique."""
    return [f"{group}=none"] if (config_folder() / group / "none.yaml").exists() else []


def _step_seconds(overrides: list[str], seconds: float) -> float:
    """Mean seconds of a step, over at least so many seconds after the first steps."""
    experiment = build(configuration(*overrides))
    seeds = experiment.config.seeds
    population = Population(experiment.model(seeds), seeds, experiment.optimiser, experiment.clipping)
    progress = Progress(0, {seed: Result() for seed in seeds})
    record = AdjointRecord(seeds, population.model.cell.states, experiment.task.steps)
    watch, asked = Stopwatch(), 0
    begun = (0.0, 0)

    def interrupted() -> bool:
        nonlocal asked, begun
        asked += 1
        if asked == WARM:
            begun = (watch.seconds, watch.steps)
        return asked > WARM and watch.seconds - begun[0] > seconds

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
