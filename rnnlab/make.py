"""The one place where a `_target_` is made into something."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.cells.cell import Cell, Grid
from rnnlab.contract import OURS, ConfigError, common_to, component_class, members_of, without_stack
from rnnlab.membership import lacks
from rnnlab.messages import one_line
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.tasks.task import Task

Configured = dict[str, dict[str, Any]]
"""Components as a configuration has them, by group."""


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
    for at, member in members_of(config).items():
        field, _, name = at.partition(".")
        given[field] = {**given[field], name: make(f"{key}.{at}", dict(member), packages, **context)}
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


def make_cell(
    parts: Configured,
    packages: Collection[str] = (OURS,),
    *,
    replicas: int,
    inputs: int,
    outputs: int,
    grid: Grid = (1, 1),
    **changes: Any,
) -> Cell:
    """The configured cell with its activation, all parameters zero, in a net with so many outputs.

    Args:
        grid: of the images that its inputs are.
        changes: to its hyper-parameters.
    """
    activation = _activation(parts, packages, replicas)
    return make(
        "cell",
        {**parts["cell"], **changes},
        packages,
        replicas=replicas,
        inputs=inputs,
        outputs=outputs,
        grid=grid,
        activation=lambda: activation(parts["cell"]["hidden"]),
    )


def _activation(parts: Configured, packages: Collection[str], replicas: int) -> Callable[[int], nn.Module]:
    """Makes the configured activation for so many units."""
    return lambda units: make("activation", parts["activation"], packages, replicas=replicas, units=units)


def make_model(parts: Configured, packages: Collection[str], task: Task, *, replicas: int) -> Model:
    """The configured net for a task, all parameters zero."""
    sizes = sizes_of(parts, packages, task, replicas=replicas)
    return Model(
        make("architecture", parts["architecture"], packages, steps=task.steps),
        lambda inputs, grid=sizes.grid, **changes: make_cell(
            parts, packages, replicas=replicas, inputs=inputs, outputs=task.outputs, grid=grid, **changes
        ),
        sizes,
    )


def sizes_of(parts: Configured, packages: Collection[str], task: Task, *, replicas: int) -> Sizes:
    """What a net for a task is made for."""
    return Sizes(
        replicas=replicas,
        inputs=task.inputs,
        outputs=task.outputs,
        hidden=parts["cell"]["hidden"],
        image=getattr(task, "image", None),
        activation=_activation(parts, packages, replicas),
    )


def empty_model(parts: Configured, packages: Collection[str], task: Task, parametrisation: Parametrisation) -> Model:
    """A model of one replica that has shapes and no numbers: on torch's device `meta`, where nothing is allocated.

    Raises:
        RuntimeError: it cannot be made there, since its making looks at numbers, or since they are too many to count.
    """
    with torch.device("meta"):
        model = make_model(parts, packages, task, replicas=1)
        model.parametrise(parametrisation)
    return model


def parameter_count(model: nn.Module, replicas: int) -> int:
    """Learned numbers of one replica."""
    absent = sum(part.absent for part in model.modules() if isinstance(part, Cell))
    return sum(p.numel() for p in model.parameters()) // replicas - absent
