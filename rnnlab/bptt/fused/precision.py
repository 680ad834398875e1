"""`precision`: what the operands of products are rounded to. States, sums, gates and gradients stay float32.

`ieee`: to nothing. `tf32`: by the tensor cores, to 10 bits of mantissa. `bf16`: to 7 bits. `fp16`: forward to 10 bits
and a small exponent; the adjoints that the backward pass multiplies are often below fp16's smallest number, 6e-8, so
there it is `tf32`, which has the same mantissa and float32's exponent.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

PRECISIONS = ("ieee", "tf32", "bf16", "fp16")
_SIXTEEN_BITS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def within(precision: str, direction: str) -> str:
    """The precision of the products of `forward` or `backward`."""
    return "tf32" if (precision, direction) == ("fp16", "backward") else precision


def packed(weight: Tensor, precision: str) -> Tensor:
    """A weight as a kernel takes it: in 16 bits where its products are of such numbers."""
    return weight.to(_SIXTEEN_BITS.get(precision, weight.dtype))


def packed_size(precision: str, dtype: torch.dtype) -> int:
    """Bytes of a number of a packed weight."""
    return _SIXTEEN_BITS.get(precision, dtype).itemsize


def rounded(operand: Tensor, precision: str) -> Tensor:
    """An operand of torch's products, in its own dtype."""
    return packed(operand, precision).to(operand.dtype)


@contextmanager
def products(precision: str) -> Iterator[None]:
    """torch's products on a CUDA device within this block: of float32 where `ieee`, else of tf32.

    Numbers of 16 bits are exact in tf32, so that a product of rounded operands has the sums it should have: in float32.
    """
    switch = torch.backends.cuda.matmul
    before, switch.allow_tf32 = switch.allow_tf32, precision != "ieee"
    try:
        yield
    finally:
        switch.allow_tf32 = before
