"""TensorBoard's HParams tab: what a run chose, and how it ended.

A run writes what it chose and nothing about columns. The tab then makes its columns from all runs it finds: every key
that any of them has, those that differ first. Had runs written columns, one run's would have stood for all. For the
outcomes it takes every scalar tag in the order of Python's strings and shows the first five, which is why theirs begin
with a capital letter.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch.utils.tensorboard.summary import hparams

from rnnlab.experiment import Experiment
from rnnlab.groups import COMPONENTS
from rnnlab.tasks.task import Metric

NO_COLUMN = ("name", "probes", "probe", "log", "evaluate", "checkpoint", "components", "force", "tensorboard")
"""Keys and sections that change neither what is trained nor how."""


def begun_and_ended(experiment: Experiment, parameters: int) -> tuple[Any, Any]:
    """The summaries to write at a run's start and at its end."""
    _, begun, ended = hparams(hyper_parameters(experiment, parameters), {})
    return begun, ended


def hyper_parameters(experiment: Experiment, parameters: int) -> dict[str, str | float]:
    """Every key of the configuration but for NO_COLUMN, by its name on the command line; a component by its option.

    Numbers stay numbers, anything else is text, since the tab takes neither lists nor null, and draws true as 1.0000.
    Also `parameters`, the learned numbers of one replica, and `sequence_steps`, T; `engine` and `device` are those
    that serve the run.
    """
    config = experiment.config
    keys = {key: value for key, value in _flat(config.resolved()) if key.split(".")[0] not in NO_COLUMN}
    result = {key: _shown(value) for key, value in keys.items() if not key.endswith("._target_")}
    result |= {group: config.option(group) for group in COMPONENTS}
    return result | {
        "seeds": ranges(config.seeds),
        "engine": experiment.engine.name,
        "device": experiment.device.type,
        "parameters": parameters,
        "sequence_steps": experiment.task.steps,
    }


def _flat(node: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str | float:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, int | float) else str(value)


def ranges(numbers: Sequence[int]) -> str:
    """`0-2, 5` for 0, 1, 2 and 5: a population's seeds in the width of a column."""
    rising = sorted(numbers)
    breaks = [0, *(k for k, (a, b) in enumerate(pairwise(rising), start=1) if b != a + 1), len(rising)]
    runs = [rising[a:b] for a, b in pairwise(breaks)]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def outcome(results: dict[int, Any], metric: Metric) -> dict[str, float]:
    """How a run stands: shares of all its seeds, and medians over all its seeds. The tab's first five outcomes.

    A seed that has not solved the task takes infinitely many steps, one that diverged has the worst loss and metric.
    Where that is so for the median seed, the steps are left out, and loss and metric are NaN.
    """
    solve = [math.inf if r.steps_to_solve is None else r.steps_to_solve for r in results.values()]
    others = [r for r in results.values() if r.status != "diverged"]
    diverged = len(results) - len(others)
    ends = {
        "steps_to_solve": solve,
        "loss": [r.final_loss for r in others if r.final_loss is not None] + [math.inf] * diverged,
        metric.name: [r.final_metric for r in others if r.final_metric is not None] + [metric.worst] * diverged,
    }
    figures = {name: statistics.median(values) for name, values in ends.items() if values}
    if math.isinf(figures["steps_to_solve"]):
        del figures["steps_to_solve"]
    figures = {name: figure if math.isfinite(figure) else math.nan for name, figure in figures.items()}
    figures["solved_share"] = sum(map(math.isfinite, solve)) / len(results)
    figures["diverged_share"] = diverged / len(results)
    return {f"Outcome/{name}": figure for name, figure in figures.items()}
