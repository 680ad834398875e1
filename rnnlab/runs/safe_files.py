"""Files of folders that may come from a stranger: not followed elsewhere, not waited for, not swallowed whole.

An archive can hold symbolic links, FIFOs and devices. `metrics.jsonl -> ~/.bashrc` would be read into a report, or
written through; opening a FIFO waits for ever.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rnnlab.contract import RunError
from rnnlab.messages import shown, shown_path

FILES = ("config.yaml", "manifest.json", "metrics.jsonl", "summary.json", "adjoints.npz", "output.log", ".lock")
FOLDERS = ("checkpoint", "probes", "tensorboard", "diagnosis")
"""What is written in a run folder; every file also under its temporary name, `.NAME.tmp`."""
OF_FILES = ("checkpoint", "probes")
"""Folders that hold files alone."""


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened to be read.

    Raises:
        OSError: it cannot be opened, is a symbolic link or no regular file; `strerror` says which.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if path.is_symlink():
            raise OSError(error.errno, "it is a symbolic link, which is not followed", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file, as far as it went when it was opened: a run at work appends to its own.

    Args:
        limit: bytes that it may have at most.
    Raises:
        OSError: as `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(0, f"it has more than {limit:,} bytes", str(path))
        return file.read(size)  # not the limit: `read` makes room for what it is asked for before it looks


def refuse_links(folder: Path) -> None:
    """Refuse a run folder in which something that a run writes is a link, or neither a file nor a folder.

    The folder itself may be reached through links. A folder that is not there holds none.

    Raises:
        RunError: names the first.
    """
    for path, mode in _written(folder):
        _refuse_special(path, mode)


def refuse_irregular(path: Path) -> None:
    """Refuse a file to be read or written that is there and is no regular one.

    Raises:
        RunError: it is so.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # whoever writes it is told
        return
    _refuse_special(path, mode)
    if stat.S_ISDIR(mode):
        raise RunError(f"{shown_path(path)}: is a directory, where a file is to be.")


def _refuse_special(path: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise RunError(
            f"{shown_path(path)}: a symbolic link, which is not followed: what a run writes is in its folder."
        )
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise RunError(f"{shown_path(path)}: neither a file nor a folder, so it is not touched.")


def wrong_kinds(folder: Path) -> Iterator[Path]:
    """Folders where a run writes a file, and files where it has a folder: nothing could be written in their place."""
    for path, mode in _written(folder):
        top = path.parent == folder
        if not top and path.relative_to(folder).parts[0] not in OF_FILES:
            continue
        if (top and path.name in FOLDERS) != stat.S_ISDIR(mode):
            yield path


def _written(folder: Path) -> Iterator[tuple[Path, int]]:
    names = {name for file in (*FILES, *FOLDERS) for name in (file, f".{file}.tmp")}
    for entry in _entries(folder):
        if entry.name in names:
            yield Path(entry), entry.stat(follow_symlinks=False).st_mode
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry))


def _below(folder: Path) -> Iterator[tuple[Path, int]]:
    for entry in _entries(folder):
        yield Path(entry), entry.stat(follow_symlinks=False).st_mode
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def visible(text: str) -> str:
    """Text of several lines as a terminal may be given it: what would move its cursor, colour it or set its title is
    escaped. What is to stay on one line, a path or a value, goes through `rnnlab.messages`."""
    return "".join(
        c if c.isprintable() or c in "\n\t\u00a0" else c.encode("unicode_escape").decode("ascii") for c in text
    )


def why_no_folder(path: Path) -> str:
    """What stands where a folder is meant to be, there or above; '' where nothing does."""
    for place in (*reversed(path.parents), path):
        if place.is_symlink() and not place.exists():
            return f"{shown(place)} is a link to {shown(os.readlink(place))}, which is not there"
        if place.exists() and not place.is_dir():
            return f"{shown(place)} is no folder"
    return ""
