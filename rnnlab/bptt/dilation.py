"""A sequence as d sequences side by side: step t of the one is step t // d of the (t mod d)-th.

A cell whose state comes from d steps ago, h_t = f(x_t, h_{t-d}), is a plain cell on these, and its adjoints, kernels
and rules are those of a plain cell (Chang et al. 2017).

T time, T' = ceil(T / d), R replica, B batch, X anything.
"""

import torch
from torch import Tensor


def fold(value_TRBX: Tensor, dilation: int) -> Tensor:
    """(T', R, d B, X); zeros behind the last step fill up the last row."""
    missing = -len(value_TRBX) % dilation
    if missing:
        value_TRBX = torch.cat([value_TRBX, value_TRBX.new_zeros(missing, *value_TRBX.shape[1:])])
    return value_TRBX.unflatten(0, (-1, dilation)).transpose(1, 2).flatten(2, 3)


def folded_mask(mask_TRB: Tensor | None, value_TRBX: Tensor, dilation: int) -> Tensor | None:
    """Of which steps there are: not those that only fill up. None where there are all."""
    if mask_TRB is None:
        if len(value_TRBX) % dilation == 0:
            return None
        mask_TRB = torch.ones_like(value_TRBX[..., 0], dtype=torch.bool)
    return fold(mask_TRB, dilation)


def unfold(value_TRBX: Tensor, dilation: int, steps: int) -> Tensor:
    """The first so many steps of the one sequence."""
    return value_TRBX.unflatten(2, (dilation, -1)).transpose(1, 2).flatten(0, 1)[:steps]
