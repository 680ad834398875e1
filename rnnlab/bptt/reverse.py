"""The oracle: an explicit reverse sweep, one vector-Jacobian product per time step, no hooks.

Slow and simple. Every engine is tested against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule, larger_norm
from rnnlab.bptt.walk import walk
from rnnlab.cells.cell import Cell, State


@dataclass(frozen=True)
class Swept:
    """Total adjoints (T, R, B, H), before the rule acted; the gradients of parameters (by name), input and state."""

    adjoints: State
    parameters: dict[str, Tensor]
    input_TRBI: Tensor
    state: State

    def norms(self) -> Tensor:
        """(S, T, R, B) of the adjoints."""
        return torch.stack([torch.linalg.vector_norm(adjoint_TRBH, dim=-1) for adjoint_TRBH in self.adjoints])


@dataclass(frozen=True)
class StepBack:
    """What one time step gives on the way back.

    time: t, 0-based.
    adjoint: of each state component, total, before the rule acted.
    parameters: by name, what this step's use of the parameter adds to its gradient.
    input_RBI: the gradient of x_t.
    carried: what goes on to the state before.
    """

    time: int
    adjoint: State
    parameters: dict[str, Tensor]
    input_RBI: Tensor
    carried: State


def reverse_sweep(
    cell: Cell,
    input_TRBI: Float[Tensor, "T R B I"],
    cotangent_TRBH: Float[Tensor, "T R B H"],
    *,
    state: State | None = None,
    mask_TRB: Bool[Tensor, "T R B"] | None = None,
    rule: AdjointRule | None = None,
) -> Swept:
    """Adjoints and gradients of L for given direct derivatives.

    Args:
        cotangent_TRBH: the direct part, dL/d(output_t) with everything later held fixed.
        cell, input_TRBI, state, mask_TRB, rule: as for `unroll`.
    """
    gradients = {name: torch.zeros_like(p) for name, p in cell.named_parameters()}
    adjoints = tuple(input_TRBI.new_zeros(*cotangent_TRBH.shape[:3], width) for width in cell.widths)
    input_gradient = torch.zeros_like(input_TRBI)
    carried: State = ()
    for back in steps_back(cell, input_TRBI, cotangent_TRBH, state=state, mask_TRB=mask_TRB, rule=rule):
        for name, part in back.parameters.items():
            gradients[name] += part
        for adjoint_TRBH, adjoint_RBH in zip(adjoints, back.adjoint, strict=True):
            adjoint_TRBH[back.time] = adjoint_RBH
        input_gradient[back.time] = back.input_RBI
        carried = back.carried
    return Swept(adjoints, gradients, input_gradient, carried)


def steps_back(
    cell: Cell,
    input_TRBI: Float[Tensor, "T R B I"],
    cotangent_TRBH: Float[Tensor, "T R B H"],
    *,
    state: State | None = None,
    mask_TRB: Bool[Tensor, "T R B"] | None = None,
    rule: AdjointRule | None = None,
    end: State | None = None,
) -> Iterator[StepBack]:
    """The steps of `reverse_sweep`, the last one first.

    Args:
        end: dL/ds of the state after the last step, beside what comes by the outputs; zeros when None.
    """
    rule = NoRule() if rule is None else rule
    T = len(input_TRBI)
    start = tuple(s.detach() for s in (state or cell.zero_state(input_TRBI[0])))
    with torch.no_grad():
        trajectory = [step.before for step in walk(cell, input_TRBI, start, mask_TRB)]

    names, parameters = zip(*cell.named_parameters(), strict=True)
    carried = end or tuple(torch.zeros_like(s) for s in start)
    direct_RB1 = input_TRBI.new_zeros(*input_TRBI.shape[1:3], 1, dtype=torch.float64)
    for t in reversed(range(T)):
        input_RBI = input_TRBI[t].detach().requires_grad_()
        before = tuple(s.clone().requires_grad_() for s in trajectory[t])
        _, after = cell.step(input_RBI, before)
        direct_RB1 = larger_norm(direct_RB1, cotangent_TRBH[t])
        arriving = _with_direct(cell, carried, cotangent_TRBH[t])
        zeros = tuple(torch.zeros_like(a) for a in arriving)
        adjoint: list[Tensor] = []
        seeds: list[Tensor] = []
        for s, (component, outer) in enumerate(zip(after, _where(mask_TRB, t, arriving, zeros), strict=True)):
            # The part of this component's adjoint that comes through the components before it, at this same step.
            through = torch.zeros_like(component)
            if s:
                (part,) = torch.autograd.grad(after[:s], component, seeds, retain_graph=True, allow_unused=True)
                through = through if part is None else part
            adjoint.append(outer + through)
            seeds.append(rule.meet(outer + through, direct_RB1) - through)
        used = [*parameters, input_RBI, *before]
        result = torch.autograd.grad(after, used, seeds, allow_unused=True)
        result = [torch.zeros_like(u) if g is None else g for u, g in zip(used, result, strict=True)]
        # What arrives at a step that an example does not have passes it by.
        passing = _where(mask_TRB, t, zeros, arriving) if mask_TRB is not None else zeros
        carried = tuple(r + p for r, p in zip(result[len(parameters) + 1 :], passing, strict=True))
        if rule.cuts(t):
            carried = tuple(torch.zeros_like(c) for c in carried)
        carried = tuple(rule.carry(t, name, c) for name, c in zip(cell.states, carried, strict=True))
        parts = dict(zip(names, result, strict=False))
        yield StepBack(t, tuple(adjoint), parts, result[len(parameters)], carried)


def _with_direct(cell: Cell, carried: State, cotangent_RBH: Tensor) -> State:
    """What arrives from later steps, and besides, at the components that the cell puts out, from the outputs."""
    width = dict(zip(cell.states, cell.widths, strict=True))
    parts = cotangent_RBH.split([width[name] for name in cell.put_out_states], dim=-1)
    direct = dict(zip(cell.put_out_states, parts, strict=True))
    return tuple(c + direct[name] if name in direct else c for name, c in zip(cell.states, carried, strict=True))


def _where(mask_TRB: Tensor | None, t: int, live: State, absent: State) -> State:
    """`live` for the examples that have step t, `absent` for the others."""
    if mask_TRB is None:
        return live
    return tuple(torch.where(mask_TRB[t].unsqueeze(-1), a, b) for a, b in zip(live, absent, strict=True))
