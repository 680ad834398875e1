"""The adjoint probe: how far back the gradient reaches, and how sure the fit of its decay is.

R replica, S state component, T time, B batch.
"""

from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import batch_mean
from rnnlab.contract import component
from rnnlab.probes.probe import Moment, Named, prefixed
from rnnlab.runs.adjoints import summarise

QUANTILES = {"quantile_10": 0.1, "median": 0.5, "quantile_90": 0.9}


@component
class Adjoint:
    """The norm |dL_b/ds_t| of every state component s, for the examples b of the batch.

    Per component (`h`, `c`): `mean`, `quantile_10`, `median` and `quantile_90` over the examples that have the step,
    (R, T), NaN where none has it; and of the mean `slope` (decades per step, above zero where the adjoint vanishes on
    its way back), `slope_error` (its standard error), `e_folding` (steps back over which it falls by a factor e),
    `first_live` (the first step, 0-based, with a norm of at least 1e-10) and `live` (the share of such steps).
    """

    needs: ClassVar[tuple[str, ...]] = ("adjoints",)

    def measure(self, moment: Moment) -> Named:
        assert moment.adjoints is not None
        smallest, result = torch.finfo(moment.batch.input.dtype).tiny, Named()
        for call in moment.adjoints:
            mean_RST = batch_mean(call.norm_STRB, call.mask_TRB)
            quantile_QRST = _quantiles(call.norm_STRB, call.mask_TRB)
            for s, state in enumerate(call.states):
                curves = {"mean": mean_RST[:, s], **dict(zip(QUANTILES, quantile_QRST[:, :, s], strict=True))}
                result |= prefixed(f"{call.prefix}{state}.", curves | _figures(mean_RST[:, s], smallest))
        return result


def _quantiles(norm_STRB: Tensor, mask_TRB: Tensor | None) -> Tensor:
    """(Q, R, S, T): order statistics, because between two infinite norms there is nothing to interpolate."""
    if mask_TRB is not None:
        norm_STRB = norm_STRB.masked_fill(~mask_TRB, torch.nan)
    level_Q = norm_STRB.new_tensor(list(QUANTILES.values()))
    return torch.nanquantile(norm_STRB, level_Q, dim=-1, interpolation="nearest").permute(0, 3, 1, 2)


def _figures(mean_RT: Tensor, smallest: float) -> Named:
    summaries = [summarise(norm_T, smallest) for norm_T in mean_RT.cpu().numpy()]
    names = ("slope", "slope_error", "e_folding", "first_live", "live")
    return {name: mean_RT.new_tensor([getattr(summary, name) for summary in summaries]) for name in names}
