"""A small run that a component makes sense in: what it does not go with, it says itself."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rnnlab.build import build
from rnnlab.config import Config, config_folder
from rnnlab.contract import ConfigError
from rnnlab.experiment import Experiment
from rnnlab.laws.ground import composed, leaf
from rnnlab.laws.subject import Subject
from rnnlab.probes.probe import Moment, Named, Probe
from rnnlab.schema import validate
from rnnlab.tasks.task import stack
from rnnlab.training.population import Population
from rnnlab.training.prober import Measured, Prober
from rnnlab.training.step import training_step

SMALL = ("cell.hidden=5", "seeds=2", "engine=autograd", "device=cpu", "steps=1000")
USUAL = ("rnn", "lstm", "gru")
"""Cells that go first."""
TASKS = (("adding", 9), ("copy", 4), ("adding", 45))
"""Options and lengths."""


@dataclass(frozen=True)
class Company:
    """A cell, a task and an architecture, all of rnnlab's own."""

    cell: str
    task: str
    length: int
    architecture: str = "single"


_FOUND: dict[str, Company] = {}
"""What a component goes with, by its `_target_`: whatever its values, it stays the same."""


def experiment_with(subject: Subject, **changes: Any) -> Experiment:
    """The first small experiment that the component does not refuse.

    Args:
        changes: to plain keys of the configuration, or whole groups.
    Raises:
        ConfigError: it refuses all of them; its last reason.
    """
    known, refused = subject.target in _FOUND, ConfigError()
    for company in [_FOUND[subject.target]] if known else _companies(subject):
        try:
            experiment = build(_config(subject, company, **changes))
        except ConfigError as error:
            refused = error
        else:
            _FOUND[subject.target] = company
            return experiment
    raise refused


def company_of(subject: Subject) -> Company:
    """What is chosen beside it in that experiment."""
    if subject.target not in _FOUND:
        experiment_with(subject)
    return _FOUND[subject.target]


def refuse_misfit(subject: Subject) -> None:
    """Raise ConfigError where the component refuses its values in any company, as far as its source tells."""
    refused = ConfigError()
    for company in (company_of(subject), *_companies(subject)):
        try:
            _config(subject, company)
        except ConfigError as error:
            refused = error
        else:
            return
    raise refused


def cells_for(subject: Subject) -> list[str]:
    """The usual cells that it goes with; or else the first that it does."""
    company, found = company_of(subject), []
    for cell in USUAL:
        with suppress(ConfigError):
            build(_config(subject, replace(company, cell=cell)))
            found.append(cell)
    return found or [company.cell]


def _companies(subject: Subject) -> Iterator[Company]:
    """The usual ones, then every other cell; those in which only the component itself would stand once."""
    usual = [Company(cell, *task) for cell in USUAL for task in TASKS]
    if subject.group == "task":  # one may be for some architectures only
        yield usual[0]
        others = sorted({p.stem for p in (config_folder() / "architecture").glob("*.yaml")} - {usual[0].architecture})
        yield from (replace(usual[0], architecture=other) for other in others)
        return
    yield from usual[: len(TASKS) if subject.group == "cell" else None]
    if subject.group != "cell" and subject.target not in _FOUND:
        others = sorted(p.stem for p in (config_folder() / "cell").glob("*.yaml"))
        yield from (Company(cell, *TASKS[0]) for cell in others if cell not in USUAL)


def _config(subject: Subject, company: Company, **changes: Any) -> Config:
    raw = composed(*SMALL)
    raw["cell"] = leaf("cell", company.cell, hidden=5)
    raw["architecture"] = leaf("architecture", company.architecture)
    raw["task"] = leaf("task", company.task, length=company.length, batch=4)
    if subject.group == "probes":
        raw["probes"] = {subject.key.partition(".")[2]: subject.config}
    else:
        raw[subject.group] = subject.config
    return validate({**raw, **changes}, subject.packages)


def moment_of(experiment: Experiment, *, steps: int = 1, seeds: list[int] | None = None, prepare: Any = None) -> Moment:
    """The last of so many training steps, and all that a probe may need, whether or not one is due.

    Args:
        seeds: other replicas than the experiment's.
        prepare: called with the model before the first step, to set its parameters.
    """
    seeds = experiment.config.seeds if seeds is None else seeds
    population = Population(experiment.model(seeds), seeds, experiment.optimiser, experiment.clipping)
    if prepare is not None:
        prepare(population.model)
    prober = _AllAreDue(experiment, seeds)
    for step in range(1, steps + 1):
        batch = stack([experiment.task.training_batch(s, step) for s in seeds])
        training_step(experiment, population, prober, batch.to(experiment.device, experiment.dtype), step)
    assert prober.moment is not None
    return prober.moment


class _AllAreDue(Prober):
    """Makes the moment, and measures nothing."""

    moment: Moment | None = None

    def due(self, step: int) -> dict[str, Probe]:
        return {"nothing": _Nothing()}

    def needs(self, step: int, what: str) -> bool:
        return True

    def measure(self, moment: Moment | None, population: Population) -> Measured:
        self.moment = moment
        return super().measure(moment, population)


class _Nothing:
    needs: ClassVar[tuple[str, ...]] = ()

    def measure(self, moment: Moment) -> Named:
        return {}
