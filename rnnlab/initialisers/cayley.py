"""Cayley initialisation (Helfrich, Willmott & Ye 2018)."""

import math

import torch
from torch import Generator, Tensor

from rnnlab.contract import Share, component
from rnnlab.initialisers.square import ForSquareWeights


@component
class Cayley(ForSquareWeights):
    """W = (I + A)^-1 (I - A) D, orthogonal, with blocks [[0, s], [-s, 0]] on the diagonal of A,
    s = sqrt((1 - cos t) / (1 + cos t)) and t ~ U(0, spread pi).

    So W rotates each pair of units by t. D is the identity but for a share `negative` of -1 on its diagonal, the last
    ones. A last odd unit keeps its value, up to that sign. Only for square blocks: recurrent weights.

    Args:
        spread: largest angle as a share of pi; 0.5 is the paper's.
        negative: share of -1 in D. The paper chooses it by task: 0.5 for copy memory.
    """

    spread: Share
    negative: Share

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        n = weight_OI.shape[0]
        angle = torch.empty(n // 2, dtype=torch.float64).uniform_(0, self.spread * math.pi, generator=generator)
        skew = torch.zeros(n, n, dtype=torch.float64)
        first = torch.arange(0, 2 * (n // 2), 2)
        skew[first, first + 1] = torch.tan(angle / 2)  # the root above, without its cancellation
        skew -= skew.T.clone()
        identity = torch.eye(n, dtype=torch.float64)
        sign = torch.ones(n, dtype=torch.float64)
        sign[n - round(self.negative * n) :] = -1
        weight_OI.copy_(torch.linalg.solve(identity + skew, identity - skew) * sign)
