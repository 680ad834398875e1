"""When the host may look at what a device has computed."""

import torch

AT_ONCE = ("cpu",)
"""Kinds of device whose numbers are there as soon as they are asked for."""


def waits(device: torch.device) -> bool:
    """Whether looking at a number makes the host wait until the device has done all that it was given before.

    Where it does, training looks at figures only when a line of metrics, an evaluation or a checkpoint needs them, so
    that the device always has work ahead of it.
    """
    return device.type not in AT_ONCE
