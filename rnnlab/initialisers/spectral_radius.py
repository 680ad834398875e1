"""Weights scaled to a spectral radius, dense or sparse (Jaeger 2001; Pascanu, Mikolov & Bengio 2013)."""

import torch
from torch import Generator, Tensor

from rnnlab.contract import Count, Positive, component
from rnnlab.initialisers.square import ForSquareWeights
from rnnlab.plan import Plan, Refusal


@component
class SpectralRadius(ForSquareWeights):
    """W = radius G / rho(G), with G Gaussian and rho(G) the largest modulus of its eigenvalues.

    With `nonzeros`, each unit is connected to so many randomly chosen ones only (a column of W as torch has it, out by
    in, keeps that many entries). Only for square blocks: recurrent weights.

    Args:
        radius: of W; 0.95 is Pascanu's, in his published code.
        nonzeros: connections of each unit, at most H; null: all of them. Pascanu's are 15.
    """

    radius: Positive
    nonzeros: Count | None

    def why_not(self, plan: Plan) -> Refusal:
        if self.nonzeros is not None and self.nonzeros > plan.cell.hidden:
            return {"nonzeros": f"A unit has at most cell.hidden={plan.cell.hidden} connections"}
        return self.not_square(plan)

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        n = weight_OI.shape[0]
        drawn = torch.randn(n, n, dtype=torch.float64, generator=generator)
        if self.nonzeros is not None:
            order = torch.rand(n, n, dtype=torch.float64, generator=generator).argsort(dim=0).argsort(dim=0)
            drawn[order >= self.nonzeros] = 0.0
        weight_OI.copy_(drawn * (self.radius / torch.linalg.eigvals(drawn).abs().max()))
