"""What comes first in every command: where modules are searched for, and an output that never costs a run.

Imports nothing that could lie in the current folder of a `python -m`.
"""

import io
import os
import sys

from rnnlab.import_path import leave_current_folder

STATUS = 130
"""Of a process that was interrupted."""
UNTRAINED = "Interrupted before anything was trained."


def enter() -> None:
    """To be called before anything else is imported."""
    leave_current_folder()
    keep_output()


def keep_output() -> None:
    """Standard output and error that can always be written to.

    A character that their encoding has not becomes a question mark. What cannot be written at all, since the terminal
    is gone, nobody reads the pipe any more or the disk is full, is dropped: the results are in files.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            number = stream.fileno()
        except (AttributeError, OSError, ValueError):  # closed before we were started, or not a file
            if stream is None:
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
            continue
        stream.flush()
        buffered = io.BufferedWriter(_Lossy(number, "wb", closefd=False))
        lines = stream.line_buffering or name == "stderr"
        kept = io.TextIOWrapper(buffered, stream.encoding, "replace", line_buffering=lines)
        setattr(sys, name, kept)


class _Lossy(io.FileIO):
    """A file whose writing always succeeds."""

    def write(self, data: object, /) -> int:
        try:
            written = super().write(data)  # pyright: ignore[reportArgumentType]
            while written is None:  # another program has made the terminal non-blocking, and it is not ready
                import select

                select.select([], [self.fileno()], [])
                written = super().write(data)  # pyright: ignore[reportArgumentType]
        except OSError:
            return len(data)  # pyright: ignore[reportArgumentType]
        return written
