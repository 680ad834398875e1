"""A cell's steps over a sequence, one after the other: the loop that all unrolling is defined by.

T time, R replica, B batch, I input, H hidden.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.cells.cell import Cell, State


@dataclass(frozen=True)
class Step:
    """One time step.

    before: the state that it starts from; after: the state that it leaves.
    made: what the cell makes of `before`. It is `after`, but for examples that do not have the step: they carry
        `before` on.
    output_RBH: likewise.
    """

    before: State
    made: State
    after: State
    output_RBH: Tensor


def walk(
    cell: Cell,
    input_TRBI: Tensor,
    state: State,
    mask_TRB: Tensor | None = None,
    *,
    enter: Callable[[int, State], State] = lambda t, state: state,
) -> Iterator[Step]:
    """The steps of sequences.

    Args:
        state: the initial one.
        mask_TRB: False where an example has no such step.
        enter: what step t sees of the state: the same numbers, whose gradient may go another way.
    """
    for t, input_RBI in enumerate(input_TRBI):
        state = enter(t, state)
        output, made = cell.step(input_RBI, state)
        after = made
        if mask_TRB is not None:
            live_RB1 = mask_TRB[t].unsqueeze(-1)
            after = tuple(torch.where(live_RB1, new, old) for new, old in zip(made, state, strict=True))
        yield Step(state, made, after, output if after is made else cell.put_out(after))
        state = after
