"""Recurrent weights by length and direction (Salimans & Kingma 2016)."""

import torch
from torch import Tensor

from rnnlab.contract import ConfigError, component
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


@component
class WeightNorm(Parametrisation):
    """w = g v / |v| for the recurrent weights w of every unit, a column of W: length and direction are trained apart.

    Trained are g, (H,), and V, (H, H), with the columns v. W begins as the draw. The length of w is |g| after any
    number of updates, however long v has grown.
    """

    def begin(self, drawn: Tensor) -> tuple[Parts, Parts]:
        length = torch.linalg.vector_norm(drawn, dim=0)
        if not (length.is_meta or length.all()):
            raise ConfigError(
                "parametrisation=weight_norm: not allowed with recurrent weights that are zeros for a whole unit: they "
                "have no direction. Choose another initialiser, or parametrisation=none."
            )
        return {"length": length, "direction": drawn}, {}

    def weight(self, *, length: Tensor, direction: Tensor) -> Tensor:
        return direction * (length / torch.linalg.vector_norm(direction, dim=0))
