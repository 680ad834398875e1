"""From a configuration to an experiment: what makes no sense is refused, sizes and engine are chosen."""

from collections.abc import Callable, Collection
from dataclasses import replace

import torch

from rnnlab.bptt.engine import Engine, choose
from rnnlab.cells.cell import Cell
from rnnlab.config import Config
from rnnlab.contract import ConfigError, members_of
from rnnlab.experiment import Experiment
from rnnlab.groups import COMPONENTS
from rnnlab.make import Configured, empty_model, make, make_cell, make_model, parameter_count, sizes_of
from rnnlab.matching import Match, match
from rnnlab.memory.available import available
from rnnlab.memory.need import Need, needed
from rnnlab.memory.refuse import refuse_needy
from rnnlab.memory.sketch import sketch
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.plan import Plan, ask, refuse, why_not
from rnnlab.probes.probe import Probe
from rnnlab.processors import within_quota
from rnnlab.runs.sources import of_files, of_modules
from rnnlab.tasks.task import Task, check_metric
from rnnlab.timetable import Timetable

OF_THE_NET = ("cell", "architecture", "activation", "adjoint")
"""Groups whose components are made with every net; the last has another name in an experiment."""


def build(
    config: Config,
    *,
    say: Callable[[str], None] = lambda text: None,
    threads: int | None = None,
    trains: bool = True,
) -> Experiment:
    """The experiment of a configuration. Nothing large is allocated.

    Args:
        say: is told what takes time (compiling the CPU kernel) and what is missing here.
        threads: what `threads=auto` stands for; None for as many as torch uses now.
        trains: False where it is only looked at, which needs less memory than training.
    Raises:
        ConfigError: what could only be seen now is wrong, for example a device that is not there, or that there is
            less memory than training needs.
    """
    task: Task = make("task", config.components["task"], config.allowed_packages)
    check_metric(task)
    if config.recompute >= task.steps:
        raise ConfigError(
            f"recompute={config.recompute}: not allowed. A sequence has {task.steps} steps, and computing all of them "
            "again would save no memory."
        )
    device, dtype = _device(config.device), getattr(torch, config.dtype)
    notes: list[str] = []  # told once nothing is refused any more
    config, found = _matched(config, task)
    if found:
        notes.append(str(found))
    memory = _memory(config, device, found, trains=trains)
    plan = _plan(config, task)
    refuse(plan)
    config = _overridden(plan, notes.append)
    probes = _probes(plan, notes.append)
    notes += filter(None, (part.remark(plan) for part in plan.parts.values() if hasattr(part, "remark")))
    engine = _engine(plan, device, dtype, threads or torch.get_num_threads(), say)
    for note in notes:
        say(note)
    return Experiment(
        config=config,
        match=found,
        memory=memory,
        probes=probes,
        timetables={name: Timetable.of(config.probes[name]) for name in probes},
        device=device,
        dtype=dtype,
        engine=engine,
        sources=sources_of(config, task),
        rule=plan.parts["adjoint"],
        **{group: plan.parts[group] for group in COMPONENTS if group not in OF_THE_NET},
    )


def _engine(plan: Plan, device: torch.device, dtype: torch.dtype, threads: int, say: Callable[[str], None]) -> Engine:
    """The engine of a plan; `threads` is what `auto` stands for."""
    config, dropout, unserved = plan.config, plan.parts["dropout"], None
    if dropout.within:
        unserved = f"it does not serve {plan.chosen('dropout')}, which acts within a step"
    elif not plan.cell.states:
        unserved = f"{plan.chosen('cell')} takes no steps"
    return choose(
        config.engine,
        cell=plan.cell,
        rule=plan.parts["adjoint"],
        device=device,
        dtype=dtype,
        threads=config.threads if isinstance(config.threads, int) else within_quota(threads),
        recompute=config.recompute,
        precision=config.precision,
        say=say,
        unserved=unserved,
        vectors="adjoints" in plan.parts["regulariser"].needs,
    )


def _plan(config: Config, task: Task) -> Plan:
    """With every component of a configuration, the cell without numbers."""
    parts, packages, cell = config.components, config.allowed_packages, _looked_at(config, task)
    context = {"units": cell.hidden, "steps": task.steps, "replicas": 1}
    others = {
        group: make(group, parts[group], packages, **context) for group in COMPONENTS if group not in ("task", "cell")
    }
    return Plan(config, {"task": task, "cell": cell, **others})


def sources_of(config: Config, task: Task) -> dict[str, str]:
    """Hashes of the user's own code and data that a run is made with."""
    parts = (*config.components.values(), *config.probes.values())
    modules = (part["_target_"].rpartition(".")[0] for whole in parts for part in (whole, *members_of(whole).values()))
    return of_modules(modules, config.allowed_packages) | of_files(getattr(task, "files", ()))


def _matched(config: Config, task: Task) -> tuple[Config, Match | None]:
    """The configuration with the cell.hidden that match_parameters asks for in place of its own."""
    if config.match_parameters is None:
        return config, None

    packages, parts = config.allowed_packages, _sized(config, 2)
    first = _cell(parts, packages, task)
    parametrisation = make("parametrisation", parts["parametrisation"], packages, steps=task.steps)
    ask(Plan(config, {"cell": first, "parametrisation": parametrisation}), "parametrisation")

    def count(hidden: int) -> int:
        try:
            return _parameters(config, hidden, task, parametrisation)
        except ConfigError as error:  # a cell that takes even sizes only, say
            raise ConfigError(
                f"match_parameters={config.match_parameters}: not allowed. It tried cell.hidden={hidden}: {error}"
            ) from error

    # rnnlab.schema refuses one unit in a population.
    least = 2 if len(config.seeds) > 1 else first.least
    found = match(config.match_parameters, count, least=least)
    return replace(config, components=_sized(config, found.hidden), match_parameters=None), found


def _sized(config: Config, hidden: int) -> Configured:
    return {**config.components, "cell": {**config.components["cell"], "hidden": hidden}}


def _parameters(config: Config, hidden: int, task: Task, parametrisation: Parametrisation) -> int:
    """Learned numbers of one replica with so many units."""
    parts, packages = _sized(config, hidden), config.allowed_packages
    try:
        return parameter_count(empty_model(parts, packages, task, parametrisation), 1)
    except (RuntimeError, ConfigError):  # a component of the user's own may need numbers
        model = make_model(parts, packages, task, replicas=1)
        for cell in model.cells.values():
            if cell.recurrent:  # any draw will do; of zeros there is not every parametrisation
                cell.weight_recurrent.data.uniform_(generator=torch.Generator().manual_seed(0))
        model.parametrise(parametrisation)
        return parameter_count(model, 1)


def _looked_at(config: Config, task: Task) -> Cell:
    """A cell that tells what it has. It may be large, so it has no numbers, unless one of the user's own needs some."""
    parts, packages = config.components, config.allowed_packages
    try:
        with torch.device("meta"):
            cell = _cell(parts, packages, task)
        assert cell.gated in (False, True)
        return cell
    except (RuntimeError, ConfigError):
        return _cell(parts, packages, task)


def _cell(parts: Configured, packages: Collection[str], task: Task) -> Cell:
    """Of one replica, as the task's inputs want it."""
    grid = sizes_of(parts, packages, task, replicas=1).grid
    return make_cell(parts, packages, replicas=1, inputs=task.inputs, outputs=task.outputs, grid=grid)


def _memory(config: Config, device: torch.device, found: Match | None, *, trains: bool) -> Need:
    """What training needs; refused where that is more than there is, unless it is not to be trained."""
    room = available(device.type)
    if not trains:
        return needed(sketch(config, device), room)
    try:
        return refuse_needy(config, lambda changed: sketch(changed, device), room)
    except ConfigError as error:
        if found and str(error).startswith("cell.hidden="):
            raise ConfigError(f"match_parameters={found.asked}, which takes {error}") from None
        raise


def _overridden(plan: Plan, say: Callable[[str], None]) -> Config:
    """The configuration with the keys that a component sets in place of others, where those are there."""
    config = plan.config
    for group in COMPONENTS:
        asked = getattr(plan.parts[group], "overrides", None)
        for key, value in (asked(plan) if asked else {}).items():
            other, _, name = key.partition(".")
            part = config.components[other]
            if part.get(name, value) != value:
                say(f"{plan.chosen(group)} sets {key}={value:g} in place of {part[name]:g}.")
                config = replace(config, components={**config.components, other: {**part, name: value}})
    return config


def _probes(plan: Plan, say: Callable[[str], None]) -> dict[str, Probe]:
    """The configured probes that have something to look at: a bundle serves every cell."""
    config, kept = plan.config, dict[str, Probe]()
    refused: list[str] = []
    for name, node in config.probes.items():
        probe = make(f"probes.{name}", node, config.allowed_packages)
        why = why_not(probe, plan, f"probes.{name}")
        if why:
            refused.append(f"probes.{name}: not allowed. {why}. Leave it out with ~probes.{name}.")
            say(f"probes.{name} measures nothing here: {why}.")
        else:
            kept[name] = probe
    if refused and not kept:
        raise ConfigError(refused[0])
    return kept


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: not allowed here. No CUDA device is available; allowed: auto, cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
