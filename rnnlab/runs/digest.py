"""Length and SHA-256 of a file: how a run says what it wrote, and a reader sees that it is still so."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypedDict


class Digest(TypedDict):
    """Of a file's first `bytes` bytes, which are all of it once the run has ended."""

    bytes: int
    sha256: str


class Tally:
    """The digest of what is written piece by piece."""

    def __init__(self, written: bytes = b"") -> None:
        self._bytes, self._hash = len(written), hashlib.sha256(written)

    def add(self, piece: bytes) -> None:
        self._bytes += len(piece)
        self._hash.update(piece)

    def digest(self) -> Digest:
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}


def digest(content: bytes) -> Digest:
    """Of a whole file."""
    return Tally(content).digest()


def checksum(content: Mapping[str, Any]) -> str:
    """Of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
