"""AutoClip: a percentile of the gradient norms so far (Seetharaman, Wichern, Pardo & Le Roux 2020)."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep, shorten
from rnnlab.contract import Percentage, component


@component
class AutoClip:
    """g <- g bound / |g| where |g| > bound = the percentile-th percentile of |g| over all steps, this one too.

    Each replica has its own history, which is kept in full: 8 bytes a step. Between two norms the percentile is
    interpolated linearly.

    Args:
        percentile: 0 to 100; 10 is the paper's. 100 clips nothing.
    """

    percentile: Percentage

    def __call__(self, step: GradientStep) -> Tensor:
        sorted_RN = inserted(step.memory.get("norms"), step.norm_R)
        step.memory["norms"] = sorted_RN
        place = self.percentile / 100 * (sorted_RN.shape[1] - 1)
        low = int(place)
        high = min(low + 1, sorted_RN.shape[1] - 1)
        return shorten(step, torch.lerp(sorted_RN[:, low], sorted_RN[:, high], place - low))


def inserted(sorted_RN: Tensor | None, value_R: Tensor) -> Tensor:
    """Each row with one value more, still in order: (R, N + 1)."""
    value_R1 = value_R.unsqueeze(1)
    if sorted_RN is None:
        return value_R1.clone()
    place_R1 = torch.searchsorted(sorted_RN, value_R1)
    at_N = torch.arange(sorted_RN.shape[1] + 1, device=value_R.device)
    before, after = torch.cat([sorted_RN, value_R1], dim=1), torch.cat([value_R1, sorted_RN], dim=1)
    return torch.where(at_N < place_R1, before, torch.where(at_N == place_R1, value_R1, after))
