"""The floor: the products of a forward and backward pass at the speed of one large product on this machine.

T time, R replica, B batch, I input, H hidden, G gate rows.
"""

from collections.abc import Callable

import torch

SIDE = 1024
"""Of the square product whose speed counts; large enough for the best speed, small enough for the caches."""
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def product() -> Callable[[], torch.Tensor]:
    """A function to be timed: one product of `product_flops()`."""
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    out = torch.empty(SIDE, SIDE)
    return lambda: torch.mm(a, b, out=out)


def product_flops() -> int:
    return 2 * SIDE**3


def unroll_flops(cell: str, *, length: int, replicas: int, batch: int, inputs: int, hidden: int) -> int:
    """2 T R B G (H + I) for the forward pass, and twice that for the backward pass, which has two products for each.

    (Without gradients of the inputs the backward pass has 2 T R B G I less: a few per cent at the most.)
    """
    return 6 * length * replicas * batch * GATES[cell] * hidden * (hidden + inputs)
