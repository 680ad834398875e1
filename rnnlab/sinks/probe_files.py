"""probes/step-00000100.npz in the run folder: what the probes measured at one step.

R replica.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from rnnlab.runs.digest import Digest, digest
from rnnlab.runs.folder import write_atomically
from rnnlab.runs.record import PROBED
from rnnlab.sinks.sink import Sink


class ProbeFiles(Sink):
    """One file per probed step.

    Args:
        folder: made when it is needed.
        kept: by file name, those of earlier sessions. Any other is of a session that was cut off, and goes.
    """

    def __init__(self, folder: Path, kept: Mapping[str, Digest]) -> None:
        self.folder, self.files = folder, dict(kept)
        for path in folder.iterdir() if folder.is_dir() else []:
            if PROBED.fullmatch(path.name) and path.name not in kept:
                path.unlink()

    def probes(self, step: int, seeds: list[int], measured: dict[str, np.ndarray]) -> None:
        """Write one step: `seed` (R,), and every array (R, ...) under PROBE.NAME."""
        self.folder.mkdir(exist_ok=True)
        buffer = BytesIO()
        np.savez(buffer, seed=np.array(seeds, dtype=np.int64), **measured)  # type: ignore[arg-type]
        content, name = buffer.getvalue(), f"step-{step:08d}.npz"
        write_atomically(self.folder / name, content)
        self.files[name] = digest(content)
