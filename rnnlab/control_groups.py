"""What Linux control groups allow this process: those of containers and batch systems. Imports no torch."""

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def settings(controller: str, file: str, old_file: str, groups: Path, membership: Path) -> Iterator[str]:
    """What a setting is in the process's group and in all above it; none where there are no groups.

    Args:
        controller: `memory`, `cpu`.
        file: the setting's in version 2.
        old_file: in version 1.
        groups: where groups are mounted: version 2 there itself, version 1 below the controller's name.
        membership: lines NUMBER:CONTROLLERS:PATH; version 2 has no controllers.
    """
    try:
        lines = membership.read_text(errors="surrogateescape").split("\n")
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon:
            continue
        if controllers and controller not in controllers.split(","):
            continue
        top, name = (groups / controller, old_file) if controllers else (groups, file)
        folder = top / path.lstrip("/")
        # In a container the path may be that outside of it; then only the top is there.
        for place in (folder, *folder.parents):
            if place.is_relative_to(top):
                yield from _read(place / name)


def _read(file: Path) -> Iterator[str]:
    try:
        yield file.read_text().strip()
    except (OSError, ValueError):  # the last: a name that cannot be one, what is no text
        return
