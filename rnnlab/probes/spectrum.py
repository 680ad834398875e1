"""Singular values and eigenvalues of many matrices at once. The library refuses all for one; here only that one is NaN.

X any axes, D the matrix's own.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_linalg: Any = torch.linalg  # its LinAlgError is documented, but not exported to a type checker


def singular_values(matrix_XDD: Tensor) -> Tensor:
    """(X, D), falling; NaN for a matrix that is not finite, or for which the iteration does not converge."""
    return _each(torch.linalg.svdvals, matrix_XDD)


def spectral_radius(matrix_XDD: Tensor) -> Tensor:
    """(X,): the largest modulus of an eigenvalue; NaN likewise."""
    return _each(lambda matrix: torch.linalg.eigvals(matrix).abs(), matrix_XDD).amax(-1)


def _each(values: Callable[[Tensor], Tensor], matrix_XDD: Tensor) -> Tensor:
    finite_X = matrix_XDD.isfinite().flatten(-2).all(-1)
    given_XDD = matrix_XDD.where(finite_X[..., None, None], 0.0)
    try:
        result_XD = values(given_XDD)
    except _linalg.LinAlgError:
        alone = [_alone(values, matrix_DD) for matrix_DD in given_XDD.flatten(0, -3)]
        result_XD = torch.stack(alone).view(matrix_XDD.shape[:-1])
    return result_XD.where(finite_X.unsqueeze(-1), math.nan)


def _alone(values: Callable[[Tensor], Tensor], matrix_DD: Tensor) -> Tensor:
    try:
        return values(matrix_DD)
    except _linalg.LinAlgError:
        return matrix_DD.new_full(matrix_DD.shape[:1], math.nan)
