"""What a run's memory follows from, found out without allocating any."""

import functools
import json
import math

import torch
from torch import Tensor

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.architectures.model import Model
from rnnlab.bptt.fused.unroll import numbers_kept
from rnnlab.bptt.fused.unroll import why_not as no_fused
from rnnlab.bptt.scan import scan_unroll
from rnnlab.bptt.scan import why_not as no_scan
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.config import Config
from rnnlab.contract import ConfigError
from rnnlab.make import Configured, empty_model, make, make_cell
from rnnlab.memory.kept import TINY, numbers_per_step
from rnnlab.memory.need import Sketch
from rnnlab.streams import generator
from rnnlab.tasks.task import Generated

MANY = 10**6
"""Parameters, more than any tiny cell has."""


def sketch(config: Config, device: torch.device) -> Sketch:
    """The sketch of a configuration whose components are good, sizes aside.

    Args:
        device: that it is to train on.
    Raises:
        ConfigError: a component refuses its sizes.
    """
    parts, packages = config.components, tuple(config.allowed_packages)
    task, rule, regulariser, dropout = (
        make(group, parts[group], packages) for group in ("task", "adjoint", "regulariser", "dropout")
    )
    model, countless = None, False
    try:
        model = empty_model(
            parts, packages, task, make("parametrisation", parts["parametrisation"], packages, steps=task.steps)
        )
    except (RuntimeError, ConfigError, AttributeError) as error:  # the last: a parametrisation of weights not there,
        # which build refuses when it has looked at the cell
        if isinstance(error.__cause__, ValueError):  # a size that a component refuses
            raise
        countless = "overflow" in str(error)  # else it is one of the user's own that looks at numbers
    last = task.steps if regulariser.needs else task.scored
    autograd_only = dropout.within or "adjoints" in regulariser.needs
    cell, places = _tiny_cell(parts, packages), _places(model) if model else 1
    taken = model.architecture.steps_of(len(model.cells), task.steps) if model else [task.steps]
    # The outputs of all but the last are read at every step by the next; a decoder, the last, has scored steps alone.
    decodes = model is not None and model.architecture.decodes
    wanted = [1 if decodes else steps for steps in taken]
    if taken:
        taken[-1] = task.scored if decodes else taken[-1]
        wanted[-1] = min(last, taken[-1])
    of_cells = sum(
        _kept(config, cell, rule, device, (steps, task.batch * places, outputs), autograd_only=autograd_only)
        for steps, outputs in zip(taken, wanted, strict=True)
        if cell and cell.states
    )
    return Sketch(
        config=config,
        task=task,
        model=model,
        countless=countless,
        states=len(model.states) if model else len(cell.states) if cell else 0,
        kept=of_cells + (_of_other_parts(model, task.steps * task.batch) if model else 0),
        remembered=_remembered(json.dumps(parts["optimiser"]), packages),
        drawn=_drawn(task) if isinstance(task, Generated) and task.examples else 0,
        last=last,
    )


def _places(model: Model) -> int:
    """At which every unit of the net's cells stands, where each of the task's steps is one of theirs."""
    grid = next((cell.grid for cell in model.cells.values()), None)
    return math.prod(grid) if grid and grid == model.sizes.grid else 1


def _of_other_parts(model: Model, rows: int) -> int:
    """Numbers per replica that parts keep which are no cells, as far as they tell."""
    return sum(part.numbers_kept(rows) for part in model.parts.values() if hasattr(part, "numbers_kept"))


def _drawn(task: Generated) -> int:
    """Bytes of an example as it is drawn, and its place in an epoch's order. No examples tell what one has."""
    try:
        parts = task.draw(0, generator(0, "set"))
    except Exception:  # one of the user's own
        return 0
    return torch.int64.itemsize + sum(math.prod(part.shape[1:]) * part.element_size() for part in parts)


def _tiny_cell(parts: Configured, packages: tuple[str, ...], units: int = TINY[1]) -> Cell | None:
    """A cell of this kind with few units; None where there is none, or where other sizes make it large."""
    few = {**parts, "cell": {**parts["cell"], "hidden": units}}
    try:
        with torch.device("meta"):
            empty = make_cell(few, packages, replicas=1, inputs=1, outputs=1)
        return (
            make_cell(few, packages, replicas=1, inputs=1, outputs=1)
            if sum(p.numel() for p in empty.parameters()) < MANY
            else None
        )
    except (ConfigError, RuntimeError):
        return None


def _kept(
    config: Config,
    cell: Cell,
    rule: AdjointRule,
    device: torch.device,
    sizes: tuple[int, int, int],
    *,
    autograd_only: bool,
) -> int:
    """Numbers per replica, by whichever engine `rnnlab.bptt.engine.choose` may take that keeps fewest.

    Args:
        sizes: time steps, examples at all their places, and trailing outputs that are needed.
        autograd_only: whether the autograd engine alone serves.
    """
    T, B, last = sizes
    dtype: torch.dtype = getattr(torch, config.dtype)
    units, engine = config.components["cell"]["hidden"], "autograd" if autograd_only else config.engine
    scans = engine in ("auto", "scan") and no_scan(cell, rule) is None
    if not scans and engine in ("auto", "fused") and no_fused(cell, rule, device, dtype) is None:
        return B * units * numbers_kept(cell, T, last, config.recompute)
    kind = {"cell": {**config.components["cell"], "hidden": 1}, "activation": config.components["activation"]}
    of_example, shared = _measured(json.dumps(kind), tuple(config.allowed_packages), scans)
    return (T - 1) * (of_example * B * units + shared * units**2)  # the first step has no graph behind it


@functools.lru_cache(maxsize=64)
def _measured(kind: str, packages: tuple[str, ...], scans: bool) -> tuple[int, int]:
    """`numbers_per_step` of the components in a piece of JSON; none where one of the user's own cannot be so tiny."""
    parts: Configured = json.loads(kind)
    cells = {units: cell for units in TINY if (cell := _tiny_cell(parts, packages, units))}
    try:
        return numbers_per_step(cells, scan_unroll if scans else unroll)
    except Exception:  # whatever its step cannot do: that is told when it is trained
        return 0, 0


@functools.lru_cache(maxsize=64)
def _remembered(optimiser: str, packages: tuple[str, ...]) -> int:
    """Numbers that an optimiser keeps per learned one, of recurrent weights and of others the smaller: measured.

    0 where one of the user's own cannot make a step with a leaf that is not of a model.
    """
    made, found = make("optimiser", json.loads(optimiser), packages), []
    try:
        for recurrent in (False, True):
            leaf = torch.zeros(3, 3, requires_grad=True)
            leaf.grad = torch.zeros(3, 3)
            of_leaf = made([{"params": [leaf], "lr": made.lr, "full_lr": made.lr, "recurrent": recurrent}])
            of_leaf.step()
            kept = [value for value in of_leaf.state[leaf].values() if isinstance(value, Tensor)]
            found.append(sum(value.shape == leaf.shape for value in kept))
    except Exception:  # see above
        return 0
    return min(found)
