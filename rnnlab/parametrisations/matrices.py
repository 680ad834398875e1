"""What the parametrisations share: skew-symmetric and nearest orthogonal matrices."""

import math

import torch
from torch import Tensor


def skew(below: Tensor) -> Tensor:
    """A = -A^T, (H, H), from its H (H - 1) / 2 entries below the diagonal, row by row."""
    size = (1 + math.isqrt(1 + 8 * len(below))) // 2
    at = torch.ones(size, size, dtype=torch.bool, device=below.device).tril(-1)
    lower = below.new_zeros(size, size).masked_scatter(at, below)
    return lower - lower.T


def below_diagonal(matrix: Tensor) -> Tensor:
    """The entries below the diagonal, row by row."""
    rows, columns = torch.tril_indices(matrix.shape[0], matrix.shape[1], -1, device=matrix.device)
    return matrix[rows, columns]


def nearest_orthogonal(matrix: Tensor) -> Tensor:
    """U V^T of the singular value decomposition U S V^T: the nearest one in the Frobenius norm (Fan & Hoffman 1955)."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right
