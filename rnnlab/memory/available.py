"""How much memory a process can have here, whatever is free at the moment. Imports torch for a CUDA device alone."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnlab.control_groups import GROUPS, MEMBERSHIP, settings

try:
    import resource
except ImportError:  # Windows
    resource = None

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
    whole = _pages("SC_PHYS_PAGES")
    rooms = [Room(whole, "this machine has", int((1 - OTHERS) * whole) - _program())]
    rooms += [Room(n, "this process may have", n - _program()) for n in (*_limits(), *_group_limits())]
    return min(rooms, key=lambda room: room.left)


UNKNOWN = 2**62
"""Bytes that a machine is taken to have whose system does not tell: Windows."""


def _pages(name: str) -> int:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return UNKNOWN


@functools.cache
def _program() -> int:
    """Bytes that the program itself has taken when it is first asked: before its first run, that is."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError):
        return 0


def _limits() -> Iterator[int]:
    """Those of `ulimit -v` and `ulimit -d`."""
    if resource is None:
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _group_limits(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> Iterator[int]:
    """Those of the process's control group and of all above it."""
    for text in settings("memory", "memory.max", "memory.limit_in_bytes", groups, membership):
        if text.isdecimal():  # else "max"
            yield int(text)
