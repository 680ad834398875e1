"""How many processors this process may use. Imports no torch."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from rnnlab.control_groups import GROUPS, MEMBERSHIP, settings


def cores() -> int:
    """Those that it may run on, and no more than the quota of its container gives the time of."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return within_quota(allowed)


def within_quota(count: int) -> int:
    """So many, or fewer where the container has less time for them."""
    return max(1, min([count, *map(math.ceil, _quotas())]))


def _quotas(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> Iterator[float]:
    """Processors' time per time that control groups allow: `docker run --cpus=2`."""
    for text in settings("cpu", "cpu.max", "cpu.cfs_quota_us", groups, membership):
        quota, _, period = text.partition(" ")  # version 1 has the period, which nobody changes, in a file of its own
        if quota.isdecimal() and int(period or 100_000):  # else "max", or -1
            yield int(quota) / int(period or 100_000)
