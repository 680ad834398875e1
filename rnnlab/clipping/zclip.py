"""ZClip: clip norms that are outliers among the recent ones (Kumar et al. 2025)."""

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import GradientStep, shorten
from rnnlab.contract import BelowOne, Count, Positive, component


@component
class ZClip:
    """g <- g bound / |g| where z = (|g| - m) / s exceeds z_max, with bound = m + s z_max^2 / z;
    m <- alpha m + (1 - alpha) n,  s^2 <- alpha s^2 + (1 - alpha) (n - m)^2 with n each replica's norm after clipping.

    m and s^2 begin as mean and variance of the first `warmup` norms, during which nothing is clipped. The further out
    a norm, the nearer to m it is brought.

    Args:
        alpha: in [0, 1); 0.97 is the paper's.
        z_max: the largest z that is left alone, > 0; 2.5 is the paper's.
        warmup: steps, >= 1; 25 is the paper's.
    """

    alpha: BelowOne
    z_max: Positive
    warmup: Count

    def __call__(self, step: GradientStep) -> Tensor:
        norm_R, zero_R = step.norm_R, torch.zeros_like(step.norm_R)
        seen_R = step.memory.get("seen", zero_R) + 1
        mean_R, variance_R = (step.memory.get(name, zero_R) for name in ("mean", "variance"))
        warm_R = seen_R > self.warmup
        deviation_R = variance_R.sqrt()
        z_R = (norm_R - mean_R) / deviation_R
        outlier_R = warm_R & (z_R > self.z_max)
        bound_R = torch.where(outlier_R, mean_R + deviation_R * self.z_max**2 / z_R, norm_R)
        clipped_R = shorten(step, bound_R)
        weight_R = torch.where(warm_R, 1 - self.alpha, 1 / seen_R)
        new_mean_R = mean_R + weight_R * (bound_R - mean_R)
        # During warm-up, Welford's recursion; after it, the paper's.
        square_R = (bound_R - new_mean_R) * torch.where(warm_R, bound_R - new_mean_R, bound_R - mean_R)
        new_variance_R = variance_R + weight_R * (square_R - variance_R)
        step.memory.update(seen=seen_R, mean=new_mean_R, variance=new_variance_R)
        return clipped_R
