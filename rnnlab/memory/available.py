"""How much memory a process can have here, whatever is free at the moment."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Room:
    """bytes: the most there is; whose: whose it is, as the beginning of a sentence, "this machine has"."""

    bytes: int
    whose: str


def available(device: torch.device) -> Room:
    """The least of what the machine has and what limits allow; on CUDA the device's memory."""
    if device.type == "cuda":
        return Room(torch.cuda.get_device_properties(device).total_memory, "this device has")
    rooms = [Room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine has")]
    rooms += [Room(limit, "this process may have") for limit in (*_limits(), *_group_limits())]
    return min(rooms, key=lambda room: room.bytes)


def _limits() -> Iterator[int]:
    """Those of `ulimit -v` and `ulimit -d`."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _group_limits(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> Iterator[int]:
    """Those of the process's control group and of all above it: of containers and batch systems.

    Args:
        groups: where groups are mounted: version 2 there itself, version 1 below `memory/`.
        membership: lines NUMBER:CONTROLLERS:PATH; version 2 has no controllers.
    """
    try:
        lines = membership.read_text().split()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, file = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        folder = top / path.lstrip("/")
        # In a container the path may be that outside of it; then only the top is there.
        for place in (folder, *folder.parents):
            if place.is_relative_to(top):
                yield from _number(place / file)


def _number(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdecimal():  # else "max"
        yield int(text)
