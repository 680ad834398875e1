"""Nearly the identity: the np-RNN (Talathi & Vartak 2015)."""

from typing import ClassVar

import torch
from torch import Generator, Tensor

from rnnlab.contract import component
from rnnlab.initialisers.square import ForSquareWeights


@component
class NearlyIdentity(ForSquareWeights):
    """W = (I + A) / e with A = G^T G / H, G standard normal (H, H), and e the largest eigenvalue of I + A.

    So W is symmetric and positive definite, its largest eigenvalue is 1 and the others lie below: with ReLU, one
    direction keeps its length and the others decay, where the identity (IRNN) keeps them all. Only for square blocks:
    recurrent weights.
    """

    symmetric: ClassVar[bool] = True

    def __call__(self, weight_OI: Tensor, generator: Generator) -> None:
        n = weight_OI.shape[0]
        drawn = torch.randn(n, n, dtype=torch.float64, generator=generator)
        shifted = torch.eye(n, dtype=torch.float64) + drawn.T @ drawn / n
        weight_OI.copy_(shifted / torch.linalg.eigvalsh(shifted)[-1])
