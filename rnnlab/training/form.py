"""The form of what a checkpoint holds: names, types, shapes. Checked before anything is loaded.

A checkpoint may be a stranger's, with a right checksum over anything; and a kernel that is given a state of another
size than its parameter's writes where it should not.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def check_form(name: str, saved: Any, own: Any) -> None:
    """Compare, through containers. Numbers and text may differ in value, tensors too.

    Raises:
        ValueError: it has another form; names the first difference.
    """
    if isinstance(own, Tensor):
        if not isinstance(saved, Tensor):
            raise ValueError(f"{name} is no tensor")
        if saved.layout != torch.strided or saved.shape != own.shape or saved.dtype != own.dtype:
            raise ValueError(f"{name} is {_told(saved)}, not {_told(own)}")
    elif isinstance(own, Mapping):
        if not isinstance(saved, Mapping) or saved.keys() != own.keys():
            raise ValueError(f"{name} has other parts")
        for key, value in own.items():
            check_form(f"{name}.{key}", saved[key], value)
    elif type(_listed(saved)) is not type(_listed(own)):
        raise ValueError(f"{name} is of another type")


def _told(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}{'' if tensor.layout == torch.strided else f', {tensor.layout}'}"


def check_optimiser(
    saved: Any, own: torch.optim.Optimizer, remembered: Callable[[], list[list[dict[str, Any]]] | None]
) -> None:
    """Compare an optimiser's saved state with what one of this configuration has.

    Args:
        remembered: for each parameter group, what is remembered of each parameter of one replica, after a step; None
            where that cannot be known, with an optimiser of the user's own.
    Raises:
        ValueError: it is not of this optimiser, or of other parameters.
    """
    groups = own.state_dict()["param_groups"]
    if not (isinstance(saved, dict) and saved.keys() == {"state", "param_groups"} and isinstance(saved["state"], dict)):
        raise ValueError("the optimiser's state has other parts")
    if not (isinstance(saved["param_groups"], list) and len(saved["param_groups"]) == len(groups)):
        raise ValueError("the optimiser has other groups of parameters")
    for group, mine in zip(saved["param_groups"], groups, strict=True):
        for key in mine.keys() - {"lr"}:  # which the schedule sets at every step
            # Another version of torch may have other options; those that both have come from the configuration.
            if not isinstance(group, dict) or _listed(group.get(key, mine[key])) != _listed(mine[key]):
                raise ValueError(f"the optimiser has another {key}")
    forms = remembered() or [[None] for _ in groups]
    of_place = {
        at: form[k % len(form)]  # the leaves of all replicas, one replica after the other
        for group, form in zip(groups, forms, strict=True)
        for k, at in enumerate(group["params"])
    }
    for place, state in saved["state"].items():
        if place not in of_place:
            raise ValueError("the optimiser remembers a parameter that is not there")
        if of_place[place] is not None:
            check_form("the optimiser's state", state, of_place[place])


def _listed(value: Any) -> Any:
    """Tuples come back from a checkpoint as lists."""
    return list(value) if isinstance(value, tuple) else value
