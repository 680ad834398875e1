"""What of a configuration makes sense with the cell that it names; the rest is refused, with the reason.

What can be told from the configuration alone, `rnnlab.schema` refuses before this.
"""

from collections.abc import Callable

from rnnlab.cells.cell import Cell
from rnnlab.cells.rnn import RNN
from rnnlab.contract import ConfigError
from rnnlab.dropout.dropout import Dropout
from rnnlab.parametrisations.recurrent import square
from rnnlab.schema import Config


def matrix(cell: Cell) -> bool:
    """Whether the state is multiplied by square blocks of recurrent weights, as they stand."""
    return square(cell) and cell.multiplies


def drawable(cell: Cell) -> bool:
    """Whether there is something left of a symmetric draw."""
    return cell.multiplies or not square(cell)


WANTED: dict[str, tuple[Callable[[Cell], bool], str]] = {
    "regulariser=l2": (lambda cell: square(cell) or (cell.recurrent and cell.multiplies), "recurrent weights"),
    "regulariser=orthogonality": (matrix, "square blocks of recurrent weights"),
    "regulariser=omega": (lambda cell: isinstance(cell, RNN), "the step h_t = phi(x_t U + h_{t-1} W + b) of cell=rnn"),
    "clipping=agc": (lambda cell: cell.multiplies or not cell.recurrent, "weights that units are reached by"),
    "clipping=pascanu": (
        lambda cell: square(cell) or cell.multiplies or not cell.recurrent,
        "recurrent weights that can be shrunk",
    ),
    "optimiser=muon": (
        lambda cell: square(cell) and cell.hidden > 1,
        "recurrent weights in square blocks of at least 2 units",
    ),
    "initialiser=identity": (drawable, "recurrent weights that act as they are drawn"),
    "initialiser=nearly_identity": (drawable, "recurrent weights that act as they are drawn"),
}
"""Options that ask something of the cell: whether it has that, and what it is."""
APART = {
    ("adjoint=h_detach", "dropout=zoneout"): (
        "h_detach cuts every path into h, and a unit that zoneout keeps has no other to pass its gradient on by"
    ),
}
"""Options that contradict each other, and how."""


def refuse_unfit(config: Config, cell: Cell, dropout: Dropout) -> None:
    """Hold the configured options against the cell, and against each other.

    Raises:
        ConfigError: one of them makes no sense here.
    """
    own = config.option("cell")
    chosen = [f"{group}={config.shipped(group)}" for group in config.components]
    for option in chosen:
        fits, what = WANTED.get(option, (None, ""))
        if fits and not fits(cell):
            has = "which this cell has not" if cell.multiplies or not cell.recurrent else "which this cell's are not"
            raise ConfigError(
                f"{option}: not allowed with cell={own}. It is for {what}, {has}. Choose another{_without(option)}."
            )
    for (one, other), reason in APART.items():
        if one in chosen and other in chosen:
            raise ConfigError(f"{one}: not allowed with {other}: {reason}. Choose one of them.")
    if not {Cell, type(cell)} & set(dropout.cells):
        known = ", ".join(f"cell={kind.__module__.rpartition('.')[2]}" for kind in dropout.cells)
        raise ConfigError(
            f"dropout={config.option('dropout')}: not allowed with cell={own}. It acts within a step and knows the "
            f"inside of {known} alone."
        )
    if "adjoint=h_detach" in chosen and cell.states != ("h", "c"):
        raise ConfigError(
            f"adjoint=h_detach: not allowed with cell={own}. It cuts the path through h and keeps that through c; this "
            "cell has no two such paths. Choose one that has, such as cell=lstm."
        )


def _without(option: str) -> str:
    group = option.partition("=")[0]
    return f", or {group}=none" if group in ("regulariser", "clipping") else ""
