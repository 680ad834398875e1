"""Cells whose recurrence is linear: written once, and stepped through or solved for all time steps at once.

Shapes: R replica, B batch (or all steps and examples side by side), I input, H hidden.
"""

import torch
from torch import Tensor

from rnnlab.cells.cell import Cell, State


class LinearCell(Cell):
    """s_t = a_t s_{t-1} + b_t unit by unit, a_t and b_t made of x_t alone, and an output read from s_t and x_t.

    s is real, and one state component, or complex, and two: real and imaginary part. They are the last of `states`;
    before them stands the output, unless s itself is the output.
    """

    def coefficients(self, input_RBI: Tensor) -> tuple[State, State]:
        """(a, b), each a tuple of as many parts as s has; those of a may be (R, 1, H)."""
        raise NotImplementedError

    def read(self, input_RBI: Tensor, s: State) -> Tensor:
        """The output (R, B, H) of a step that made s."""
        return s[0]

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        a, b = self.coefficients(input_RBI)
        s = multiply_add(a, state[-len(a) :], b)
        output = self.read(input_RBI, s)
        return output, (s if len(s) == len(state) else (output, *s))


def multiply_add(a: State, s: State, b: State, out: tuple[Tensor | None, ...] = (None, None)) -> State:
    """a s + b, of real or of complex numbers in parts.

    Args:
        out: where to put it, as for torch's own functions; nothing that is differentiated.
    """
    re = torch.addcmul(b[0], a[0], s[0], out=out[0])
    if len(a) == 1:
        return (re,)
    im = torch.addcmul(b[1], a[0], s[1], out=out[1])
    return (
        torch.addcmul(re, a[1], s[1], value=-1, out=out[0]),
        torch.addcmul(im, a[1], s[0], out=out[1]),
    )
