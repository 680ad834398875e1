"""The weights probe: how the recurrent weights stretch and turn.

R replica, H hidden.
"""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import prefix
from rnnlab.contract import component
from rnnlab.plan import Plan, Refusal
from rnnlab.probes.probe import Moment, Named, prefixed
from rnnlab.probes.spectrum import singular_values, spectral_radius


@component
class Weights:
    """Singular values and eigenvalues of every square block of the recurrent weights W.

    Per block: `singular_values` (R, H), falling, and `spectral_radius`, the largest modulus of an eigenvalue;
    `distance_from_orthogonal` |W^T W - I| / sqrt(H), 0 for an orthogonal block and 1 for W = 0; `drift`
    |W - W_0| / |W_0|, from the weights that training began with (NaN where those are zero). Norms are Frobenius norms.
    """

    needs: ClassVar[tuple[str, ...]] = ("initial",)

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.square else f"{plan.chosen('cell')} has no recurrent matrices that are square"

    def measure(self, moment: Moment) -> Named:
        assert moment.initial is not None
        result = Named()
        for cell_name, cell in moment.model.cells.items():
            for name in cell.blocks:
                now = cell.block(cell.weight_recurrent.detach(), name).double()
                begun = cell.block(moment.initial[f"{cell_name}.weight_recurrent"], name).double()
                result |= prefixed(f"{prefix(cell_name)}{name}.", _figures(now, begun))
        return result


def _figures(now_RHH: Tensor, begun_RHH: Tensor) -> Named:
    H = now_RHH.shape[-1]
    gram = now_RHH.mT @ now_RHH
    eye = torch.eye(H, dtype=gram.dtype, device=gram.device)
    return {
        "singular_values": singular_values(now_RHH),
        "spectral_radius": spectral_radius(now_RHH),
        "distance_from_orthogonal": torch.linalg.matrix_norm(gram - eye) / H**0.5,
        "drift": torch.linalg.matrix_norm(now_RHH - begun_RHH) / torch.linalg.matrix_norm(begun_RHH),
    }
