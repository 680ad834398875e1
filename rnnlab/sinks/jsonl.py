"""metrics.jsonl: one line per logged step and seed. The canonical record."""

import json
from pathlib import Path
from typing import Any

from rnnlab.runs.adjoints import AdjointRecord
from rnnlab.runs.digest import Digest, Tally
from rnnlab.runs.folder import as_json, sync
from rnnlab.sinks.sink import Sink


class JsonLines(Sink):
    """Appends lines, from a known position on.

    Args:
        path: the file.
        kept: its first bytes, which stay: what stood there at the checkpoint that the run goes on from.
    """

    def __init__(self, path: Path, kept: bytes) -> None:
        self._file, self._tally = path.open("ab"), Tally(kept)
        self._file.truncate(len(kept))

    def rows(self, rows: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(as_json(row)) + "\n" for row in rows).encode()
        self._file.write(lines)
        self._file.flush()
        self._tally.add(lines)

    def digest(self) -> Digest:
        """Of all lines so far, which are then safely on the disk."""
        self._file.flush()
        sync(self._file.fileno())
        return self._tally.digest()

    def close(self, results: dict[int, Any], record: AdjointRecord) -> None:
        self._file.close()
