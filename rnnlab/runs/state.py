"""How a run folder stands, for those who did not work on it. Imports no torch."""

from pathlib import Path
from typing import Any

from rnnlab.contract import RunError
from rnnlab.runs.folder import RunFolder, now

STATES = ("finished", "running", "interrupted", "failed", "died")
"""died: the manifest says running, and nobody holds the folder's lock."""


def state_of(path: Path, manifest: dict[str, Any] | None = None) -> str:
    """One of STATES; '' where there is no manifest.

    Args:
        manifest: what the folder's manifest.json holds, where it has been read already.
    Raises:
        DamagedError: manifest.json is not what a run writes.
    """
    folder = RunFolder(path)
    status = str((folder.manifest() if manifest is None else manifest).get("status", ""))
    return "died" if status == "running" and not folder.held() else status


def mark_dead(path: Path, status: str, reason: str) -> None:
    """Correct the manifest of a killed worker, which still says `running`. Left alone if another works on the run."""
    folder = RunFolder(path)
    try:
        if state_of(path) != "died":
            return
        with folder.locked():
            folder.write_manifest({**folder.manifest(), "status": status, "reason": reason, "end": now()})
    except (RunError, OSError):
        return
