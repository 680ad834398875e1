"""How much memory a process can have here, whatever is free at the moment. Imports torch for a CUDA device alone."""

import functools
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


OTHERS = 0.05
"""Share of a machine's memory that its system never gives away."""


@dataclass(frozen=True)
class Room:
    """The most memory there is.

    whose: whose it is, as the beginning of a sentence, "this machine has".
    left: bytes of it that a run can have.
    """

    bytes: int
    whose: str
    left: int


def available(device: str) -> Room:
    """The least of what the machine has and what limits allow; on `cuda` the device's memory."""
    if device == "cuda":
        import torch

        whole = torch.cuda.get_device_properties(device).total_memory
        return Room(whole, "this device has", whole)
    whole = os.sysconf("SC_PHYS_PAGES") * _PAGE
    rooms = [Room(whole, "this machine has", int((1 - OTHERS) * whole) - _program())]
    rooms += [Room(n, "this process may have", n - _program()) for n in (*_limits(), *_group_limits())]
    return min(rooms, key=lambda room: room.left)


_PAGE = os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _program() -> int:
    """Bytes that the program itself has taken when it is first asked: before its first run, that is."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


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
