"""probes/step-00000100.npz in the run folder: what the probes measured at one step.

R replica.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from rnnlab.runs.folder import write_atomically
from rnnlab.sinks.sink import Sink


class ProbeFiles(Sink):
    """One file per probed step.

    Args:
        folder: made when it is needed.
        start: the step that the session starts from; files of later steps are of a session that was cut off.
    """

    def __init__(self, folder: Path, start: int) -> None:
        self.folder = folder
        for path in folder.glob("step-*.npz") if folder.is_dir() else []:
            if int(path.stem.removeprefix("step-")) > start:
                path.unlink()

    def probes(self, step: int, seeds: list[int], measured: dict[str, np.ndarray]) -> None:
        """Write one step: `seed` (R,), and every array (R, ...) under PROBE.NAME."""
        self.folder.mkdir(exist_ok=True)
        buffer = BytesIO()
        np.savez(buffer, seed=np.array(seeds, dtype=np.int64), **measured)  # type: ignore[arg-type]
        write_atomically(self.folder / f"step-{step:08d}.npz", buffer.getvalue())


def read_probes(run: Path) -> dict[int, dict[str, np.ndarray]]:
    """What a run folder's probes measured, by training step: `seed` (R,), and PROBE.NAME (R, ...)."""
    return dict(each_probed(run))


def each_probed(run: Path) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The same, one training step at a time."""
    for path in sorted((run / "probes").glob("step-*.npz")):
        with np.load(path, allow_pickle=False) as data:
            yield int(path.stem.removeprefix("step-")), dict(data)
