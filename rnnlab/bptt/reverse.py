"""The oracle: an explicit reverse sweep, one vector-Jacobian product per time step, no hooks.

Slow and simple. Every engine is tested against it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.cells.cell import Cell, State


@dataclass(frozen=True)
class Swept:
    """adjoint_STRBH: total adjoints, before the rule acted; the gradients of parameters (by name), input and state."""

    adjoint_STRBH: Tensor
    parameters: dict[str, Tensor]
    input_TRBI: Tensor
    state: State


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
    rule = NoRule() if rule is None else rule
    T = len(input_TRBI)
    trajectory = [tuple(s.detach() for s in (state or cell.zero_state(input_TRBI[0])))]
    with torch.no_grad():
        for t in range(T):
            new = cell.step(input_TRBI[t], trajectory[t])[1]
            trajectory.append(_where(mask_TRB, t, new, trajectory[t]))

    names, parameters = zip(*cell.named_parameters(), strict=True)
    gradients = [torch.zeros_like(p) for p in parameters]
    carried = tuple(torch.zeros_like(s) for s in trajectory[0])
    adjoint = input_TRBI.new_zeros(len(carried), *cotangent_TRBH.shape)
    input_gradient = torch.zeros_like(input_TRBI)
    for t in reversed(range(T)):
        input_RBI = input_TRBI[t].detach().requires_grad_()
        before = tuple(s.clone().requires_grad_() for s in trajectory[t])
        _, after = cell.step(input_RBI, before)
        arriving = (carried[0] + cotangent_TRBH[t], *carried[1:])
        zeros = tuple(torch.zeros_like(a) for a in arriving)
        seeds: list[Tensor] = []
        for s, (component, outer) in enumerate(zip(after, _where(mask_TRB, t, arriving, zeros), strict=True)):
            # The part of this component's adjoint that comes through the components before it, at this same step.
            through = torch.zeros_like(component)
            if s:
                (part,) = torch.autograd.grad(after[:s], component, seeds, retain_graph=True, allow_unused=True)
                through = through if part is None else part
            adjoint[s, t] = outer + through
            seeds.append(rule.apply(outer + through) - through)
        result = torch.autograd.grad(after, [*parameters, input_RBI, *before], seeds, allow_unused=True)
        result = [torch.zeros(()) if g is None else g for g in result]
        for gradient, part in zip(gradients, result, strict=False):
            gradient += part
        input_gradient[t] = result[len(parameters)]
        # What arrives at a step that an example does not have passes it by.
        passing = _where(mask_TRB, t, zeros, arriving) if mask_TRB is not None else zeros
        carried = tuple(r + p for r, p in zip(result[len(parameters) + 1 :], passing, strict=True))
        if rule.cuts(t):
            carried = tuple(torch.zeros_like(c) for c in carried)
    return Swept(adjoint, dict(zip(names, gradients, strict=True)), input_gradient, carried)


def _where(mask_TRB: Tensor | None, t: int, live: State, absent: State) -> State:
    """`live` for the examples that have step t, `absent` for the others."""
    if mask_TRB is None:
        return live
    return tuple(torch.where(mask_TRB[t].unsqueeze(-1), a, b) for a, b in zip(live, absent, strict=True))
