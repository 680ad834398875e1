"""The floor: the products of a forward and backward pass at the speed of one large product on this machine.

T time, R replica, B batch, I input, H hidden, G gate rows.
"""

from collections.abc import Callable

import torch

SIDE = 1024
"""Of the square product whose speed counts; large enough for the best speed, small enough for the caches."""
PRODUCT_FLOPS = 2 * SIDE**3
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def products() -> dict[str, Callable[[], torch.Tensor]]:
    """Functions to be timed, each one product of PRODUCT_FLOPS; the fastest counts.

    torch has two libraries for it: the BLAS that `torch.mm` calls, and oneDNN. On an AMD CPU with AVX-512 the second
    was twice as fast as MKL, so that MKL's speed would be no floor.
    """
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    out = torch.empty(SIDE, SIDE)
    result: dict[str, Callable[[], torch.Tensor]] = {"gemm blas": lambda: torch.mm(a, b, out=out)}
    if torch.backends.mkldnn.is_available():
        linear = torch.ops.mkldnn._linear_pointwise
        result["gemm onednn"] = lambda: linear(a, b, None, "none", [], "")
    return result


def unroll_flops(cell: str, *, length: int, replicas: int, batch: int, inputs: int, hidden: int) -> int:
    """Forward 2 T R B G (H + I); backward as much for the weights and 2 T R B G H for the states.

    Nobody computes gradients of the inputs here.
    """
    rows = 2 * length * replicas * batch * GATES[cell] * hidden
    return rows * (3 * hidden + 2 * inputs)


def unroll_bytes(cell: str, *, length: int, replicas: int, batch: int, inputs: int, hidden: int) -> int:
    """The fewest bytes of device memory that forward and backward of this design must move, float32; weights left out.

    x U + b, what forward keeps and the preactivations' gradients are written and read, h again for dL/dW; the cotangent
    is read, the input twice.
    """
    kept, gradients = {"rnn": (1, 1), "gru": (5, 4), "lstm": (6, 4)}[cell]
    units = hidden * (2 * GATES[cell] + 2 * kept + 1 + 1 + 2 * gradients) + 2 * inputs
    return 4 * length * replicas * batch * units
