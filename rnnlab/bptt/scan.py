"""The scan engine: `unroll` for linear recurrences, many time steps at once.

T time, R replica, B batch, N steps and examples side by side, I input, H hidden, S state components, K trailing steps.
"""

from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt.recurrence import linear_recurrence
from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell, State
from rnnlab.cells.linear import LinearCell

AT_ONCE = 2**18
"""On a CPU, numbers of a replica's state at so many steps at once: what they are made of is still in the caches."""


def why_not(cell: Cell, rule: AdjointRule) -> str | None:
    """Why the scan engine cannot unroll this, as a clause; None when it can."""
    if not isinstance(cell, LinearCell):
        return f"the cell {type(cell).__name__} is no linear recurrence"
    if rule.meets or rule.carries or rule.draws:
        return f"the adjoint rule {type(rule).__name__} acts on the adjoint of every step before the next"
    return None


def scan_unroll(
    cell: Cell,
    input_TRBI: Float[Tensor, "T R B I"],
    *,
    state: State | None = None,
    mask_TRB: Bool[Tensor, "T R B"] | None = None,
    rule: AdjointRule | None = None,
    record: bool = False,
    last: int | None = None,
) -> Unrolled:
    """Run a cell over a sequence, as `rnnlab.bptt.unroll.unroll` does,
    by solving its recurrence for many steps at a time.

    It can be differentiated once only.

    Args:
        cell, input_TRBI, state, mask_TRB, rule, record, last: as for `rnnlab.bptt.unroll.unroll`; see `why_not`.
    """
    assert isinstance(cell, LinearCell)
    T, R, B, _ = input_TRBI.shape
    rule = NoRule() if rule is None else rule
    state = cell.zero_state(input_TRBI[0]) if state is None else state
    norms = input_TRBI.new_zeros(len(cell.states), T, R, B, dtype=torch.float64) if record else None
    steps = T if input_TRBI.is_cuda else max(1, AT_ONCE // (B * cell.hidden))
    kept = T if last is None else last
    outputs: list[Tensor] = []
    for begin in range(0, T, steps):
        span = slice(begin, min(begin + steps, T))
        made = _segment(
            cell,
            input_TRBI[span],
            state,
            None if mask_TRB is None else mask_TRB[span],
            [t - begin for t in range(T)[span] if rule.cuts(t)],
            None if norms is None else norms[:, span],
        )
        state = tuple(part[:, -1] for part in made)
        if span.stop > T - kept:
            outputs.append(made[0][:, max(0, T - kept - begin) :])
    return Unrolled(torch.cat(outputs, dim=1).transpose(0, 1), state, norms)


def _segment(
    cell: LinearCell,
    input_TRBI: Tensor,
    before: State,
    mask_TRB: Tensor | None,
    cuts: list[int],
    norms_STRB: Tensor | None,
) -> State:
    """The state components (R, T, B, H) of these steps."""
    T, R, B, _ = input_TRBI.shape
    live_RTB1 = None if mask_TRB is None else mask_TRB.transpose(0, 1).unsqueeze(-1)
    flat_RNI = input_TRBI.transpose(0, 1).reshape(R, T * B, -1)

    def apart(parts: State) -> State:
        return tuple(part.expand(-1, T * B, -1).view(R, T, B, -1) for part in parts)

    a, b = (apart(parts) for parts in cell.coefficients(flat_RNI))
    _watch(b, None if norms_STRB is None else norms_STRB[-len(b) :])
    s = _solve(a, b, before[-len(b) :], live_RTB1, cuts)
    if len(s) == len(before):
        return s
    output = apart((cell.read(flat_RNI, tuple(part.flatten(1, 2) for part in s)),))
    _watch(output, norms_STRB)
    if live_RTB1 is not None:  # the last output of an example is carried over steps that it does not have
        output = _solve((torch.zeros_like(output[0]),), output, before[:1], live_RTB1, cuts)
    return (*output, *s)


def _solve(a: State, b: State, before: State, live_RTB1: Tensor | None, cuts: list[int]) -> State:
    """s_t = a_t s_{t-1} + b_t at the steps that an example has, s_t = s_{t-1} at the others."""
    if live_RTB1 is not None:
        unchanged = (1.0, 0.0)  # as a factor, in parts
        a = tuple(torch.where(live_RTB1, part, one) for part, one in zip(a, unchanged, strict=False))
        b = tuple(torch.where(live_RTB1, part, 0.0) for part in b)
    return linear_recurrence(a, b, before, cuts)


def _watch(made_RTBH: State, norms_STRB: Tensor | None) -> None:
    """Record the norms of the adjoints of state components, as the steps made them."""
    if norms_STRB is not None:
        for part, norm_TRB in zip(made_RTBH, norms_STRB, strict=False):
            if part.requires_grad:
                part.register_hook(partial(_enter, norm_TRB))


def _enter(norm_TRB: Tensor, adjoint_RTBH: Tensor) -> None:
    # Squares in float64: see rnnlab.bptt.unroll.
    norm_RTB = torch.linalg.vector_norm(adjoint_RTBH.detach(), dim=-1, dtype=torch.float64)
    norm_TRB.copy_(norm_RTB.transpose(0, 1))
