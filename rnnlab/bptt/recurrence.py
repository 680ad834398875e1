"""Linear recurrences s_t = a_t s_{t-1} + b_t over many time steps at once, differentiable, real or complex.

R replica, T time, B batch, H hidden. A complex tensor is a tuple of two, real and imaginary part; a real one of one.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnlab.cells.cell import State
from rnnlab.cells.linear import multiply_add

SMALL = 2048
"""Numbers per time step and replica up to which a step's cost on a CPU is the call. It must not depend on R."""


def linear_recurrence(a: State, b: State, before: State, cuts: Iterable[int]) -> State:
    """s (R, T, B, H) with s_t = a_t s_{t-1} + b_t. The gradient of b_t is the total adjoint of s_t.

    Args:
        a, b: (R, T, B, H).
        before: s_{-1}, (R, B, H).
        cuts: steps t that no gradient crosses on its way from s_t to s_{t-1}.
    """
    result: Any = _LinearRecurrence.apply(tuple(cuts), *a, *b, *before)
    return result


class _LinearRecurrence(torch.autograd.Function):
    """Backward is the same recurrence the other way round: adjoint_t = g_t + conj(a_{t+1}) adjoint_{t+1}."""

    @staticmethod
    def forward(ctx: Any, cuts: tuple[int, ...], *given: Tensor) -> State:
        parts = len(given) // 3
        a, b, before = given[:parts], given[parts : 2 * parts], given[2 * parts :]
        s = solve(a, b, before)
        ctx.cuts = cuts
        ctx.save_for_backward(*a, *s, *before)
        return s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *g: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = len(g)
        a, s, before = (ctx.saved_tensors[k * parts : (k + 1) * parts] for k in range(3))
        passing = _conjugate(a)
        if ctx.cuts:
            passing = tuple(part.clone() for part in passing)
            for part in passing:
                part[:, ctx.cuts] = 0
        adjoint = solve_back(passing, g)
        d_a: tuple[Any, ...] = (None,) * parts
        if ctx.needs_input_grad[1]:
            s_before = (torch.cat([x.unsqueeze(1), y[:, :-1]], dim=1) for x, y in zip(before, s, strict=True))
            d_a = _product(adjoint, _conjugate(tuple(s_before)))
        return None, *d_a, *adjoint, *_product(_at(passing, 0), _at(adjoint, 0))


def solve(a: State, b: State, before: State) -> State:
    """s_t = a_t s_{t-1} + b_t, from s_{-1} = before on.

    A device computes it as a tree, in about 2 log2 T rounds over all steps; so does a CPU where a step is small. Where
    it is not, step by step reads the memory least often.
    """
    first = multiply_add(_at(a, 0), before, _at(b, 0))
    if _step_is_large(b):
        return _step_by_step(_from(a, 1), b, first, range(b[0].shape[1]))
    return _tree(
        _from(a, 1), tuple(torch.cat([x.unsqueeze(1), y[:, 1:]], dim=1) for x, y in zip(first, b, strict=True))
    )


def solve_back(a: State, b: State) -> State:
    """s_{T-1} = b_{T-1}, s_t = a_{t+1} s_{t+1} + b_t."""
    if _step_is_large(b):
        return _step_by_step(_from(a, 1), b, _at(b, -1), range(b[0].shape[1] - 1, -1, -1))
    flipped = _tree(tuple(x[:, 1:].flip(1) for x in a), tuple(x.flip(1) for x in b))
    return tuple(x.flip(1) for x in flipped)


def _step_is_large(b: State) -> bool:
    return not b[0].is_cuda and b[0][0, 0].numel() > SMALL


def _step_by_step(link: State, b: State, first: State, order: range) -> State:
    """In this order of time; link_t stands between the steps t and t+1."""
    s = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in b)
    links, bs, ss = (list(zip(*(x.unbind(1) for x in parts), strict=True)) for parts in (link, b, s))
    for part, value in zip(ss[order[0]], first, strict=True):
        part.copy_(value)
    for done, t in itertools.pairwise(order):
        multiply_add(links[min(done, t)], ss[done], bs[t], out=ss[t])
    return s


def _tree(link: State, b: State) -> State:
    """s_0 = b_0, s_{t+1} = link_t s_t + b_{t+1}: odd steps first, two taken as one (Blelloch 1990)."""
    T = b[0].shape[1]
    if T == 1:
        return tuple(x.clone() for x in b)
    pairs, rest = T // 2, (T - 1) // 2
    inside, between = (tuple(x[:, at::2] for x in link) for at in (0, 1))  # of a pair; from one to the next
    first, second = (tuple(x[:, at : 2 * pairs : 2] for x in b) for at in (0, 1))
    joined = _product(_from(inside, 1), tuple(x[:, : pairs - 1] for x in between))
    odd = _tree(joined, multiply_add(inside, first, second))
    even = multiply_add(between, tuple(x[:, :rest] for x in odd), tuple(x[:, 2::2] for x in b))
    s = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in b)
    for whole, begun, at_odd, at_even in zip(s, b, odd, even, strict=True):
        whole[:, 0], whole[:, 1::2], whole[:, 2::2] = begun[:, 0], at_odd, at_even
    return s


def _at(x: State, t: int) -> State:
    return tuple(part[:, t] for part in x)


def _from(x: State, t: int) -> State:
    return tuple(part[:, t:] for part in x)


def _product(x: State, y: State) -> State:
    if len(x) == 1:
        return (x[0] * y[0],)
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _conjugate(x: State) -> State:
    return (x[0], *(-part for part in x[1:]))
