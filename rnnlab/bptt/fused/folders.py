"""Folders that a kernel can be built in and loaded from. Imports no torch."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from rnnlab.bptt.fused.compiler import KernelUnavailable

ROOM = 2 << 20
"""Bytes that a build needs, about twice over: the kernel's assembler text, object and library (g++ 12)."""
LEFT_BEHIND = ".kernel-*.tmp"
"""What workplaces are called, so that those of builders that were killed are found."""

Result = TypeVar("Result")


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder of its own with room for a build; it is gone afterwards.

    Raises:
        OSError: it cannot be had there, because the disk is full, say.
    """
    prefix, suffix = LEFT_BEHIND.split("*")
    with TemporaryDirectory(prefix=prefix, suffix=suffix, dir=parent, ignore_cleanup_errors=True) as name:
        room = Path(name) / "room"
        room.write_bytes(bytes(ROOM))  # asked by writing: a quota is not told otherwise
        room.unlink()
        yield Path(name)


def in_private_folder(do: Callable[[Path], Result], *refused: str) -> Result:
    """What `do` gives, with a folder for this process alone; the first where that works. It is gone afterwards.

    Args:
        do: raises OSError where another folder may do.
        refused: folders that were tried before, as `FOLDER (CAUSE)`.
    Raises:
        KernelUnavailable: there is none; with the cause for each that was tried.
    """
    tried = list(refused)
    for parent in _temporary_folders():
        try:
            if noexec(parent):
                raise PermissionError("mounted noexec")
            with workplace(parent) as folder:
                return do(folder)
        except OSError as error:
            tried.append(f"{parent} ({cause(error)})")
    raise KernelUnavailable(
        f"no folder was found to build it in and load it from, not {', '.join(tried)}; RNNLAB_CACHE=FOLDER names one"
    )


def _temporary_folders() -> list[Path]:
    """The user's choice first; more than `tempfile` knows, for disks are full and mounts noexec."""
    names = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    names += ["/tmp", "/var/tmp", "/dev/shm", os.environ.get("XDG_RUNTIME_DIR"), os.curdir]
    return list(dict.fromkeys(Path(name) for name in names if name and os.path.isdir(name)))


def noexec(folder: Path) -> bool:
    """Whether no library can be loaded from there, as far as the system tells."""
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))


def cause(error: OSError) -> str:
    """What went wrong, as a clause."""
    if isinstance(error, FileExistsError):  # mkdir's word
        return "not a directory"
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
