"""A longer training goes on where a shorter one of the same configuration stands.

Training is a function of the configuration: until the shorter one ends, both do the same, to the bit, as long as the
schedule gives both the same learning rates. The shorter one's last step alone may differ: it is evaluated and logged
there whether or not the longer one would be.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from rnnlab.experiment import Experiment
from rnnlab.messages import one_line
from rnnlab.runs.adjoints import is_recorded
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.identity import hash_without_steps, run_name
from rnnlab.runs.record import Record
from rnnlab.sinks.console import say
from rnnlab.training import checkpoint
from rnnlab.training.resume import Standing, newest


@dataclass
class Shorter:
    """A run that differs in having fewer steps.

    standing: its newest state that the longer one comes through too, None where there is none.
    why: what keeps the longer one from going on at its end; '' where nothing does.
    """

    record: Record
    steps: int
    standing: Standing | None
    why: str

    def __str__(self) -> str:
        run = f"{self.record.path}, which differs in having steps={self.steps}"
        why = f" ({self.why})" if self.why else ""
        if self.standing is None:
            return f"Not going on with {run}: it has no checkpoint from which that would give the same{why}."
        return f"Going on from step {self.standing.progress.step} of {run}{why}."


def shorter(experiment: Experiment, folder: Path) -> Shorter | None:
    """Of the runs beside this folder that differ in having fewer steps, the one that brings it furthest.

    Nothing is changed. None where there is no such run.
    """
    found = [_look(experiment, record, steps) for record, steps in _candidates(experiment, folder)]
    return max(found, key=lambda s: (s.standing.progress.step if s.standing else -1, s.steps), default=None)


def without_steps(experiment: Experiment) -> str:
    """The hash that runs share which differ in `steps` alone."""
    device, engine = experiment.device.type, experiment.engine.name
    return hash_without_steps(experiment.config.resolved(), device=device, engine=engine)


def _candidates(experiment: Experiment, folder: Path) -> Iterator[tuple[Record, int]]:
    config, ours = experiment.config, without_steps(experiment)
    for path in sorted(folder.parent.glob(f"{escape(run_name(config))}-????????")):
        record = Record(path)
        try:
            manifest = record.manifest
            if manifest["configuration_without_steps"] != ours or manifest["sources"] != experiment.sources:
                continue
            if int(record.config["steps"]) < config.steps:
                yield record, int(record.config["steps"])
        except DamagedError as error:  # another run's damage is none of ours
            if path != folder:
                say(f"Whether this goes on with {path} cannot be told: {error.short}.", error=True)


def _look(experiment: Experiment, record: Record, steps: int) -> Shorter:
    last, why = _common(experiment, steps, min(steps, checkpoint.reached(record.path / "checkpoint")))
    standing, damage = newest(experiment, record.path, last)
    return Shorter(record, steps, standing, "; ".join(map(one_line, damage)) or why)


def _common(experiment: Experiment, steps: int, reached: int) -> tuple[int, str]:
    """The last step after which a run of so many stands as the longer one does, and what differs from there on.

    Args:
        reached: the last step to look at, since a run that was solved early is one of a billion steps as well.
    """
    config, factor = experiment.config, experiment.schedule.factor
    for step in range(1, reached + 1):
        if factor(step, steps) != factor(step, config.steps):
            return step - 1, f"schedule={config.option('schedule')} depends on steps"
    if reached < steps:
        return reached, ""
    if steps % config.evaluate_every:
        return steps - 1, f"evaluate.every={config.evaluate_every} would not evaluate at step {steps}"
    if steps % config.log_every and not is_recorded(steps, config.probe_every):
        return steps - 1, f"log.every={config.log_every} would not log step {steps}"
    return steps, ""
