"""metrics.jsonl: one line per logged step and seed. The canonical record."""

import json
import os
from pathlib import Path
from typing import Any

from rnnlab.probes.adjoint_record import AdjointRecord
from rnnlab.runs.folder import plain
from rnnlab.sinks.sink import Sink


class JsonLines(Sink):
    """Appends lines, from a known position on.

    Args:
        path: the file.
        position: bytes that are kept: what stood there at the checkpoint that the run goes on from.
    """

    def __init__(self, path: Path, position: int) -> None:
        self._file = path.open("ab")
        self._file.truncate(position)

    def rows(self, rows: list[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(plain(row)) + "\n" for row in rows).encode())
        self._file.flush()

    def position(self) -> int:
        """Bytes written so far, safely on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self, results: dict[int, Any], record: AdjointRecord) -> None:
        self._file.close()
