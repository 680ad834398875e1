"""Where a run goes on: at its newest checkpoint that is whole, with everything that had been written until then.

A checkpoint, the lines of metrics and the probes' files up to it belong together. Where one of them is damaged the
checkpoint before it is taken, and where there is none the run begins anew: training is a function of the configuration,
so that what is done again comes out the same, to the bit.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnlab.experiment import Experiment
from rnnlab.messages import one_line, shown
from rnnlab.runs.adjoints import AdjointRecord
from rnnlab.runs.damage import DamagedError, free_name, set_aside
from rnnlab.runs.digest import Digest
from rnnlab.runs.progress import Progress, Result
from rnnlab.runs.record import PROBED, Record
from rnnlab.runs.safe_files import wrong_kinds
from rnnlab.training import checkpoint
from rnnlab.training.population import Population
from rnnlab.training.prober import Prober


@dataclass
class Standing:
    """How far a run is.

    kept: the bytes of metrics.jsonl up to here; probes: by file name, what the probes have written up to here.
    """

    population: Population
    progress: Progress
    record: AdjointRecord
    prober: Prober
    kept: bytes
    probes: dict[str, Digest]

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; what was written beside it, `metrics` and `probes`, the run adds."""
        return {
            "population": self.population.state_dict(),
            "progress": self.progress.state_dict(),
            "adjoints": self.record.state_dict(),
            "prober": self.prober.state_dict(),
        }


def beginning(experiment: Experiment, interrupted: Callable[[], bool] = lambda: False) -> Standing:
    """Before the first update. Raises Interrupted where it was, while the weights are drawn."""
    seeds = experiment.config.seeds
    population = Population(experiment.model(seeds, interrupted), seeds, experiment.optimiser, experiment.clipping)
    record = AdjointRecord(seeds, population.model.states, experiment.task.steps)
    return Standing(
        population, Progress(0, {seed: Result() for seed in seeds}), record, Prober(experiment, seeds), b"", {}
    )


def newest(experiment: Experiment, folder: Path, last: float = math.inf) -> tuple[Standing | None, list[DamagedError]]:
    """The newest state that is whole, None where there is none; and the damage met on the way. Nothing is changed.

    Args:
        last: of the states after more steps than these none is looked at.
    """
    damaged: dict[Path, DamagedError] = {}
    for path, state in checkpoint.each(folder / "checkpoint"):
        if checkpoint.step_of(path) > last:
            continue
        try:
            if isinstance(state, DamagedError):
                raise state
            return _restored(experiment, Record(folder), path, state), list(damaged.values())
        except DamagedError as error:
            damaged.setdefault(error.path, error)
    return None, list(damaged.values())


def _restored(experiment: Experiment, record: Record, path: Path, state: dict[str, Any]) -> Standing:
    if state["run_id"] != record.path.name:
        raise checkpoint.of_another_run(path, state)
    standing = beginning(experiment)
    try:
        standing.kept = record.check_prefix("metrics.jsonl", state["metrics"])
        for name, expected in state["probes"].items():
            if not PROBED.fullmatch(name):
                raise ValueError(f"{shown(name)} is no file of a probe")
            record.check_prefix(f"probes/{name}", expected)
        standing.probes = dict(state["probes"])
        standing.population.load_state_dict(state["population"])
        standing.progress = Progress.from_state_dict(state["progress"])
        standing.progress.reopen(experiment.config.stop_when_solved)
        standing.record.load_state_dict(state["adjoints"])
        standing.prober.load_state_dict(state["prober"], standing.population)
        _check_agreement(standing, checkpoint.step_of(path), experiment.config.milestones)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedError(path, f"is not of this net ({one_line(error) or type(error).__name__})") from None
    return standing


def _check_agreement(standing: Standing, step: int, milestones: list[float]) -> None:
    """Raise ValueError where the parts of a state are of different steps or seeds."""
    progress, population = standing.progress, standing.population
    running = [seed for seed, result in progress.results.items() if result.status == "running"]
    crossed = {name for result in progress.results.values() for name in result.milestones}
    if not crossed <= {f"{milestone:.12g}" for milestone in milestones}:
        raise ValueError("it has other milestones")
    if list(progress.results) != population.seeds or not set(running) <= set(population.active):
        raise ValueError("its parts have different seeds")
    reached = [progress.step, *(result.steps for result in progress.results.values())]
    if max(reached) != step or max(standing.record.step, default=0) > step:
        raise ValueError("its parts are of different steps")


def make_way(folder: Path, say: Callable[[str], None]) -> None:
    """Set aside, and say so, what stands where the run will write and is damaged, or of another kind."""
    for path in [*wrong_kinds(folder)]:
        if path.exists():
            kind = "folder" if path.is_dir() else "file"
            say(f"{path}: is a {kind}, which a run does not write there; set aside as {set_aside(path).name}.")
    record = Record(folder)
    for name, look in (("config.yaml", lambda: record.config), ("adjoints.npz", record.adjoints)):
        try:
            if (folder / name).exists():
                look()
        except DamagedError as error:
            if error.path.name == name:
                say(f"{error}; set aside as {set_aside(error.path).name}.")


def clear_away(folder: Path, standing: Standing, damaged: list[DamagedError], say: Callable[[str], None]) -> None:
    """Set aside what is damaged, say so, and remove the checkpoints that lie ahead: they will be made again."""
    for error in damaged:
        if not error.path.exists():
            say(f"{error}.")
        elif error.path.name == "metrics.jsonl" and standing.kept:  # its beginning is good, and stays
            say(f"{error}; set aside as {Path(shutil.copyfile(error.path, free_name(error.path))).name}.")
        else:
            say(f"{error}; set aside as {set_aside(error.path).name}.")
    for path, _ in checkpoint.each(folder / "checkpoint") if damaged else ():
        if checkpoint.step_of(path) > standing.progress.step:
            path.unlink()
    if damaged:
        begins = f"goes on from step {standing.progress.step}" if standing.progress.step else "starts from nothing"
        say(f"The run {begins}, the newest state that is whole.")
