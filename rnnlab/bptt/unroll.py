"""The autograd engine: unroll a cell in a plain loop, with a hook on every state. It is the definition.

T time, R replica, B batch, I input, H hidden, S state components, K trailing steps kept.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule, larger_norm
from rnnlab.bptt.walk import walk
from rnnlab.cells.cell import Cell, State


@dataclass(frozen=True)
class Unrolled:
    """What unrolling gives.

    output_KRBH: the outputs of the last K steps (of all T where `last` was not given).
    state: the state after the last step.
    adjoint_norm_STRB: float64, filled by `backward()`: the norm of the total adjoint of each state component at each
        step, per example, for whatever scalar was differentiated; None where it was not recorded. It is the adjoint
        as it arrives at a step, before an adjoint rule acts on it there. Steps that no gradient reaches, and
        steps that an example does not have, hold 0.
    """

    output_KRBH: Tensor
    state: State
    adjoint_norm_STRB: Tensor | None
    adjoints: State | None = None
    """The adjoints themselves, (T, R, B, H) per state component, filled likewise; None where they were not kept."""

    def scored(self, count: int) -> Tensor:
        """The outputs of the last so many of the K steps."""
        return self.output_KRBH if count == len(self.output_KRBH) else self.output_KRBH[-count:]


def unroll(
    cell: Cell,
    input_TRBI: Float[Tensor, "T R B I"],
    *,
    state: State | None = None,
    mask_TRB: Bool[Tensor, "T R B"] | None = None,
    rule: AdjointRule | None = None,
    record: bool = False,
    last: int | None = None,
    vectors: bool = False,
) -> Unrolled:
    """Run a cell over a sequence so that `backward()` gives the adjoint of every state at every step.

    Args:
        cell: the cell, with parameters for R replicas.
        input_TRBI: the inputs.
        state: the initial state; zeros when None. May require gradients.
        mask_TRB: False where an example has no such step: its state is carried over unchanged.
        rule: what happens to the adjoints on their way back; None leaves them alone.
        record: whether to record adjoint norms.
        last: how many trailing outputs to return, 1 to T; None for all.
        vectors: whether to keep the adjoints themselves.

    Example:
        >>> unrolled = unroll(cell, input_TRBI, record=True)
        >>> unrolled.output_KRBH.square().sum().backward()
        >>> unrolled.adjoint_norm_STRB[0]           # |dL/dh_t|, (T, R, B)
    """
    T, R, B, _ = input_TRBI.shape
    rule = NoRule() if rule is None else rule
    state = _fresh(cell.zero_state(input_TRBI[0]) if state is None else state)
    norms = input_TRBI.new_zeros(len(cell.states), T, R, B, dtype=torch.float64) if record else None
    adjoints = tuple(input_TRBI.new_zeros(T, *component.shape) for component in state) if vectors else None
    outer = T if last is None else last
    outputs: list[Tensor] = []
    direct = _Direct(input_TRBI.new_zeros(R, B, 1, dtype=torch.float64))

    def enter(t: int, state: State) -> State:
        if rule.cuts(t):
            state = _fresh(tuple(component.detach() for component in state))
        return _carrying(rule, cell, t, state) if rule.carries else state

    for t, step in enumerate(walk(cell, input_TRBI, state, mask_TRB, enter=enter)):
        if record or vectors or rule.meets:
            # As made, before the mask: the total adjoint has the path through the step's other components too.
            for s, component in enumerate(step.made):
                if component.requires_grad:
                    norm_RB = None if norms is None else norms[s, t]
                    kept_RBH = None if adjoints is None else adjoints[s][t]
                    component.register_hook(_hook(rule, norm_RB, kept_RBH, direct))
        state = step.after
        if t >= T - outer:
            outputs.append(direct.watch(step.output_RBH) if rule.needs_direct else step.output_RBH)
    # Stored replica by replica, so that the readout's product reads each replica's outputs as one block.
    return Unrolled(torch.stack(outputs, dim=1).transpose(0, 1), state, norms, adjoints)


def _fresh(state: State) -> State:
    """The same numbers, each with a gradient: else what depends on nothing but them would have no adjoint."""
    return tuple(part if part.requires_grad else part.detach().requires_grad_() for part in state)


class _Direct:
    """The greatest norm of a direct part that the backward pass has met; it goes from the last step to the first."""

    def __init__(self, none_RB1: Tensor) -> None:
        self.greatest_RB1 = none_RB1

    def watch(self, output_RBH: Tensor) -> Tensor:
        """The output as the loss is given it: its gradient is the direct part alone, and comes before the total."""
        if not output_RBH.requires_grad:
            return output_RBH
        seen_RBH = output_RBH.view_as(output_RBH)
        seen_RBH.register_hook(self._met)
        return seen_RBH

    def _met(self, direct_RBH: Tensor) -> None:
        self.greatest_RB1 = larger_norm(self.greatest_RB1, direct_RBH)


def _hook(
    rule: AdjointRule, norm_RB: Tensor | None, kept_RBH: Tensor | None, direct: _Direct
) -> Callable[[Tensor], Tensor | None]:
    def met(adjoint_RBH: Tensor) -> Tensor | None:
        if norm_RB is not None:
            # Squares in float64: published norms fall below 1e-23, where float32 squares are zero.
            torch.linalg.vector_norm(adjoint_RBH.detach(), dim=-1, dtype=torch.float64, out=norm_RB)
        if kept_RBH is not None:
            kept_RBH.copy_(adjoint_RBH.detach())
        return rule.meet(adjoint_RBH, direct.greatest_RB1) if rule.meets else None

    return met


def _carrying(rule: AdjointRule, cell: Cell, step: int, state: State) -> State:
    """The state as a step may see it: the same numbers, whose gradient passes through the rule."""
    seen = tuple(component.view_as(component) for component in state)
    for name, component in zip(cell.states, seen, strict=True):
        if component.requires_grad:
            component.register_hook(functools.partial(rule.carry, step, name))
    return seen
