"""From a configuration to objects: the one place where a `_target_` is made into something."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt.engine import Engine, choose
from rnnlab.cells.cell import Cell, initialise_cell
from rnnlab.clipping.gradient_step import Clipping
from rnnlab.contract import OURS, ConfigError, common_to, component_class, without_stack
from rnnlab.dropout.dropout import Dropout
from rnnlab.fit import refuse_unfit
from rnnlab.interruption import obey
from rnnlab.matching import Match, match
from rnnlab.membership import lacks
from rnnlab.memory.available import available
from rnnlab.memory.need import Need, needed
from rnnlab.memory.refuse import refuse_needy
from rnnlab.memory.sketch import sketch
from rnnlab.messages import one_line
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.parametrisations.recurrent import refuse_misfit
from rnnlab.probes.probe import Probe
from rnnlab.probes.timetable import Timetable
from rnnlab.processors import within_quota
from rnnlab.regularisers.regulariser import Regulariser
from rnnlab.runs.sources import of_files, of_modules
from rnnlab.schema import Config, refuse_sizes
from rnnlab.streams import generator
from rnnlab.tasks.task import RESERVED, Metric, Task
from rnnlab.training.model import Model


@dataclass(frozen=True)
class Experiment:
    """Everything that a training loop needs, made from one configuration.

    `config` is that configuration with cell.hidden chosen where match_parameters asked for it; `match` says how.
    `timetables` say, by name, when each of the `probes` measures.
    `sources` are hashes of the user's own code and data, which determine the results too.
    `memory` is what training it needs at least.
    """

    config: Config
    match: Match | None
    memory: Need
    task: Task
    parametrisation: Parametrisation
    rule: AdjointRule
    regulariser: Regulariser
    dropout: Dropout
    clipping: Clipping
    gradient_noise: Any
    optimiser: Any
    schedule: Any
    probes: dict[str, Probe]
    timetables: dict[str, Timetable]
    device: torch.device
    dtype: torch.dtype
    engine: Engine
    sources: dict[str, str]

    @property
    def last(self) -> int | None:
        """How many trailing outputs a training step needs; None for all."""
        return None if self.regulariser.needs else self.task.scored

    def model(self, seeds: list[int], interrupted: Callable[[], bool] = lambda: False) -> Model:
        """A freshly initialised population; replica r depends on seeds[r] alone.

        Raises:
            Interrupted: it was, which is asked before each replica is drawn.
        """
        config, replicas = self.config, len(seeds)
        cell = make_cell(config.components, config.allowed_packages, replicas=replicas, inputs=self.task.inputs)
        units = cell.hidden
        recurrent, inputs, outputs, bias = (
            make(group, config.components[group], config.allowed_packages, units=units, steps=self.task.steps)
            for group in ("initialiser", "input_initialiser", "output_initialiser", "bias_initialiser")
        )
        model = Model(cell, replicas=replicas, outputs=self.task.outputs).to(self.dtype)
        for replica, seed in enumerate(seeds):
            obey(interrupted)
            draw = generator(seed, "init")
            initialise_cell(cell, replica, recurrent, inputs, bias, draw)
            model.initialise_readout(replica, outputs, bias, draw)
        model.parametrise(self.parametrisation)
        return model.to(self.device)


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
    task, rule, regulariser, dropout, clipping, gradient_noise, optimiser, schedule = (
        make(group, config.components[group], config.allowed_packages)
        for group in (
            "task",
            "adjoint",
            "regulariser",
            "dropout",
            "clipping",
            "gradient_noise",
            "optimiser",
            "schedule",
        )
    )
    if not isinstance(task.metric, Metric):
        raise ConfigError(
            f"task: its metric is {task.metric!r}. Give a Metric(name, unit, better) of rnnlab.tasks.task: whether "
            "higher or lower is better nobody else knows."
        )
    if task.metric.name in RESERVED:
        raise ConfigError(f"task: its metric may not be called {task.metric.name}, nor {', '.join(RESERVED)}.")
    if config.shipped("adjoint") in ("truncate", "truncate_random") and rule.every >= task.steps:
        raise ConfigError(
            f"adjoint.every={rule.every}: not allowed. A sequence has {task.steps} steps, so this would cut nothing."
        )
    if config.recompute >= task.steps:
        raise ConfigError(
            f"recompute={config.recompute}: not allowed. A sequence has {task.steps} steps, and computing all of them "
            "again would save no memory."
        )
    parametrisation: Parametrisation = make(
        "parametrisation", config.components["parametrisation"], config.allowed_packages, steps=task.steps
    )
    device, dtype = _device(config.device), getattr(torch, config.dtype)
    notes: list[str] = []  # told once nothing is refused any more
    config, found = _matched(config, task, parametrisation)
    if found:
        notes.append(str(found))
        refuse_sizes(config)
    memory = _memory(config, device, found, trains=trains)
    cell = _looked_at(config, task)
    _say_what_is_idle(config, cell, notes.append)
    _refuse_misfit(config, parametrisation, cell)
    refuse_unfit(config, cell, dropout)
    config = _chrono_alone(config, cell, task, notes.append)
    probes = _probes(config, cell, notes.append)
    engine = choose(
        config.engine,
        cell=cell,
        rule=rule,
        device=device,
        dtype=dtype,
        threads=config.threads if isinstance(config.threads, int) else within_quota(threads or torch.get_num_threads()),
        recompute=config.recompute,
        precision=config.precision,
        say=say,
        unserved=f"it does not serve dropout={config.option('dropout')}, which acts within a step"
        if dropout.within
        else None,
        vectors="adjoints" in regulariser.needs,
    )
    for note in notes:
        say(note)
    return Experiment(
        config=config,
        match=found,
        memory=memory,
        task=task,
        parametrisation=parametrisation,
        rule=rule,
        regulariser=regulariser,
        dropout=dropout,
        clipping=clipping,
        gradient_noise=gradient_noise,
        optimiser=optimiser,
        schedule=schedule,
        probes=probes,
        timetables={name: Timetable.of(config.probes[name]) for name in probes},
        device=device,
        dtype=dtype,
        engine=engine,
        sources=sources_of(config, task),
    )


def sources_of(config: Config, task: Task) -> dict[str, str]:
    """Hashes of the user's own code and data that a run is made with."""
    parts = (*config.components.values(), *config.probes.values())
    modules = (part["_target_"].rpartition(".")[0] for part in parts)
    return of_modules(modules, config.allowed_packages) | of_files(getattr(task, "files", ()))


def _matched(config: Config, task: Task, parametrisation: Parametrisation) -> tuple[Config, Match | None]:
    """The configuration with the cell.hidden that match_parameters asks for in place of its own."""
    if config.match_parameters is None:
        return config, None

    def sized(hidden: int) -> dict[str, dict[str, Any]]:
        return {**config.components, "cell": {**config.components["cell"], "hidden": hidden}}

    def count(hidden: int) -> int:
        try:
            return parameter_count(_countable_model(sized(hidden), config.allowed_packages, task, parametrisation), 1)
        except ConfigError as error:  # a cell that takes even sizes only, say
            raise ConfigError(
                f"match_parameters={config.match_parameters}: not allowed. It tried cell.hidden={hidden}: {error}"
            ) from error

    first = make_cell(sized(2), config.allowed_packages, replicas=1, inputs=task.inputs)
    _refuse_misfit(config, parametrisation, first)
    # rnnlab.schema refuses one unit in a population.
    least = 2 if len(config.seeds) > 1 else first.least
    found = match(config.match_parameters, count, least=least)
    return replace(config, components=sized(found.hidden), match_parameters=None), found


def empty_model(
    parts: dict[str, dict[str, Any]], packages: Collection[str], task: Task, parametrisation: Parametrisation
) -> Model:
    """A model of one replica that has shapes and no numbers: on torch's device `meta`, where nothing is allocated.

    Raises:
        RuntimeError: it cannot be made there, since its making looks at numbers, or since they are too many to count.
    """
    with torch.device("meta"):
        model = Model(make_cell(parts, packages, replicas=1, inputs=task.inputs), replicas=1, outputs=task.outputs)
        model.parametrise(parametrisation)
    return model


def _countable_model(
    parts: dict[str, dict[str, Any]], packages: Collection[str], task: Task, parametrisation: Parametrisation
) -> Model:
    """An empty model, or where that cannot be, one with numbers."""
    try:
        return empty_model(parts, packages, task, parametrisation)
    except (RuntimeError, ConfigError):  # a component of the user's own may need numbers
        cell = make_cell(parts, packages, replicas=1, inputs=task.inputs)
        if cell.recurrent:  # any draw will do; of zeros there is not every parametrisation
            cell.weight_recurrent.data.uniform_(generator=torch.Generator().manual_seed(0))
        model = Model(cell, replicas=1, outputs=task.outputs)
        model.parametrise(parametrisation)
        return model


def _looked_at(config: Config, task: Task) -> Cell:
    """A cell that tells what it has. It may be large, so it has no numbers, unless one of the user's own needs some."""
    try:
        with torch.device("meta"):
            cell = make_cell(config.components, config.allowed_packages, replicas=1, inputs=task.inputs)
        assert cell.gated in (False, True)
        return cell
    except (RuntimeError, ConfigError):
        return make_cell(config.components, config.allowed_packages, replicas=1, inputs=task.inputs)


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


def _say_what_is_idle(config: Config, cell: Cell, say: Callable[[str], None]) -> None:
    """What this cell can make no use of: a learning rate of weights that it has not is refused, the rest is said."""
    factor, option = config.components["optimiser"]["recurrent_lr_factor"], config.option("cell")
    if factor != 1 and not cell.recurrent:
        raise ConfigError(
            f"optimiser.recurrent_lr_factor={factor}: not allowed with cell={option}, which has no recurrent weights. "
            "Allowed: 1."
        )
    if config.shipped("cell") in ("lstm_layernorm", "gru_layernorm") and cell.inputs == 1:
        say(
            f"cell={option} normalises x_t U over its units: of this task's one input only the sign is left. "
            "cell=rnn_layernorm normalises its sum with h_(t-1) W."
        )
    if not cell.blocks:
        say(f"initialiser={config.option('initialiser')} draws nothing here: cell={option} has no recurrent matrices.")


def _chrono_alone(config: Config, cell: Cell, task: Task, say: Callable[[str], None]) -> Config:
    """The configuration in which chrono initialisation, if it is chosen, draws the carrying gates' whole bias."""
    if config.shipped("bias_initialiser") != "chrono":
        return config
    if not cell.carried:
        raise ConfigError(
            f"bias_initialiser=chrono: not allowed with cell={config.option('cell')}. It draws the bias of a gate f "
            "as in f h_{t-1}, and this cell has none of that form; choose one that has, such as cell=lstm or cell=gru."
        )
    if config.components["bias_initialiser"]["t_max"] is None and task.steps < 3:
        raise ConfigError(
            f"bias_initialiser.t_max=null: not allowed. A sequence has {task.steps} steps; give a number, at least 3."
        )
    own = config.components["cell"]
    if not own.get("forget_bias"):
        return config
    say(f"bias_initialiser=chrono draws the whole bias: cell.forget_bias=0 in place of {own['forget_bias']}.")
    return replace(config, components={**config.components, "cell": {**own, "forget_bias": 0.0}})


def make_cell(
    parts: dict[str, dict[str, Any]], packages: Collection[str] = (OURS,), *, replicas: int, inputs: int
) -> Cell:
    """The configured cell with its activation, all parameters zero."""
    units = parts["cell"]["hidden"]
    return make(
        "cell",
        parts["cell"],
        packages,
        replicas=replicas,
        inputs=inputs,
        activation=lambda: make("activation", parts["activation"], packages, replicas=replicas, units=units),
    )


def _refuse_misfit(config: Config, parametrisation: Parametrisation, cell: Cell) -> None:
    refuse_misfit(parametrisation, cell, option=config.option("parametrisation"), cell_option=config.option("cell"))


def _probes(config: Config, cell: Cell, say: Callable[[str], None]) -> dict[str, Probe]:
    """The configured probes that this cell has something for: a bundle serves every cell."""
    probes: dict[str, Probe] = {
        name: make(f"probes.{name}", probe, config.allowed_packages) for name, probe in config.probes.items()
    }
    blind = {name: lacks for name, probe in probes.items() if (lacks := _lacks(cell, probe.needs))}
    for name, (what, cells) in blind.items():
        if len(blind) == len(probes):
            raise ConfigError(
                f"probes.{name}: not allowed with cell={config.option('cell')}, which has no {what} to look at. "
                f"Leave it out with ~probes.{name}, or choose another cell: {cells}."
            )
        say(f"probes.{name} measures nothing here: cell={config.option('cell')} has no {what}.")
    return {name: probe for name, probe in probes.items() if name not in blind}


def _lacks(cell: Cell, needs: tuple[str, ...]) -> tuple[str, str] | None:
    """What a cell does not have of what a probe looks at, and cells that have it."""
    if "gates" in needs and not cell.gated:
        return "gates", "cell=lstm, cell=gru"
    if "recurrent" in needs and not cell.recurrent:
        return "recurrent weights", "cell=rnn, cell=lstm"
    if "blocks" in needs and not cell.blocks:
        return "recurrent matrices", "cell=rnn, cell=lstm"
    return None


def make(key: str, config: dict[str, Any], packages: Collection[str] = (OURS,), **context: Any) -> Any:
    """Make one component: its hyper-parameters from the YAML, and of the context what its signature names.

    Keys that its group has in common are not its own, and are left out.

    Args:
        key: where it stands in the configuration: `cell`, `probes.gates`.
        packages: that components may come from.
    Raises:
        ConfigError: it is no component of the key's group, or cannot be made from these keys.
    """
    target = component_class(key, config["_target_"], packages)
    _refuse_where(lacks(key, target), key, config)
    named = inspect.signature(target).parameters
    given = {name: value for name, value in config.items() if name not in ("_target_", *common_to(key))}
    given.update({name: value for name, value in context.items() if name in named})
    try:
        made = target(**given)
    except (TypeError, ValueError) as error:
        why = one_line(without_stack(error))
        raise ConfigError(f"{key}: {target.__name__} cannot be made from its keys: {why}") from error
    _refuse_where(lacks(key, made), key, config)
    return made


def _refuse_where(lacking: str, key: str, config: dict[str, Any]) -> None:
    if lacking:
        raise ConfigError(f"{key}._target_={config['_target_']}: not allowed. As {key} it {lacking}.")


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: not allowed here. No CUDA device is available; allowed: auto, cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def parameter_count(model: nn.Module, replicas: int) -> int:
    """Learned numbers of one replica."""
    return sum(p.numel() for p in model.parameters()) // replicas
