"""What a sink is: it is told, and draws or writes; it changes nothing."""

from typing import Any

import numpy as np

from rnnlab.runs.adjoints import AdjointRecord


class Sink:
    """Where results go. A sink inherits what it does not care for: doing nothing."""

    def rows(self, rows: list[dict[str, Any]]) -> None:
        """Lines of metrics of one step, one per active seed (`split` is `train` or `eval`)."""

    def adjoints(self, record: AdjointRecord) -> None:
        """A probed step was added to the record."""

    def probes(self, step: int, seeds: list[int], measured: dict[str, np.ndarray]) -> None:
        """What the probes found at a step: PROBE.NAME (R, ...), for the seeds (R,) that took it."""

    def progress(self, step: int, results: dict[int, Any]) -> None:
        """A training step is done; results by seed."""

    def close(self, results: dict[int, Any], record: AdjointRecord) -> None:
        """The session ends."""
