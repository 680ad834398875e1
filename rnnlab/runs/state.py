"""How a run folder stands, for those who did not work on it. Imports no torch."""

from pathlib import Path

from rnnlab.contract import RunError
from rnnlab.runs.folder import RunFolder, now


def status_of(path: Path) -> str:
    """The manifest's status, or '' where there is no manifest."""
    return str(RunFolder(path).manifest().get("status", ""))


def mark_dead(path: Path, status: str, reason: str) -> None:
    """Correct the manifest of a killed worker, which still says `running`. Left alone if another works on the run."""
    folder = RunFolder(path)
    if status_of(path) != "running":
        return
    try:
        with folder.locked():
            folder.write_json("manifest.json", {**folder.manifest(), "status": status, "reason": reason, "end": now()})
    except (RunError, OSError):
        return
