"""Recurrent weights of a fixed spectral norm (Miyato, Kataoka, Koyama & Yoshida 2018)."""

import torch
from torch import Tensor

from rnnlab.contract import ConfigError, Positive, component
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class SpectralNorm(Parametrisation):
    """W = norm V / s(V), s the largest singular value: no direction is stretched by more than `norm`.

    V, (H, H), is trained. s is exact, not the paper's estimate by power iteration: W is then a function of V alone, in
    training, evaluation and after a resume. W begins as the draw divided by s and multiplied by `norm`.

    Args:
        norm: the spectral norm of W, > 0.
    """

    norm: Positive

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        if not (drawn.is_meta or drawn.any()):
            raise ConfigError(
                "parametrisation=spectral_norm: not allowed with recurrent weights that begin at zero: no multiple of "
                "them has another norm. Choose another initialiser, or parametrisation=none."
            )
        return {"direction": drawn}, {}

    def weight(self, *, direction: Tensor) -> Tensor:
        return direction * (self.norm / torch.linalg.matrix_norm(direction, ord=2))
