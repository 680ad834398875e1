"""Slurm, through submitit: every job is one of Slurm's. Nodes and login node share the working directory."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rnnlab.contract import ConfigError, RunError
from rnnlab.interruption import listening
from rnnlab.messages import one_line, shown
from rnnlab.processors import cores
from rnnlab.sweep.backend import Death
from rnnlab.sweep.local_pool import MOST_PER_CORE
from rnnlab.sweep.search_path import modules_from_elsewhere

POLL = 1.0
"""Seconds between two looks at a job."""
MOST_IN_QUEUE = 1000
"""Slurm jobs at the same time, whatever a user asks for."""

CLUSTERS = ("slurm", "local", "debug")
"""Of submitit's."""


class Slurm:
    """See `Backend`.

    Args:
        folder: for submitit's files: pickled calls, and what Slurm's jobs print before a run begins.
        cluster: `slurm`, or `local` for processes of this machine, as a rehearsal.
        slots: jobs in Slurm's queue at the same time.
        retries: of a job that Slurm killed or lost; the next goes on from its checkpoint.
        parameters: for submitit's `update_parameters`: `timeout_min`, `cpus_per_task`, `slurm_partition`, …
    """

    composers = 1

    def __init__(self, *, folder: Path, cluster: str, slots: int, retries: int, parameters: dict[str, Any]) -> None:
        most = MOST_PER_CORE * cores() if cluster == "local" else MOST_IN_QUEUE
        self.slots, self.retries, self.cluster = min(slots, most), retries, cluster
        try:
            import submitit
        except ImportError:
            raise RunError("hydra/launcher=slurm needs submitit: pip install 'rnnlab[slurm]'.") from None
        if cluster not in CLUSTERS:
            allowed = ", ".join(CLUSTERS)
            raise ConfigError(f"hydra.launcher.cluster={shown(cluster)}: not allowed. Allowed: {allowed}.")
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        except (RuntimeError, ValueError) as error:  # there is no Slurm here
            raise RunError(f"submitit: {one_line(error)}") from error
        try:
            self.executor.update_parameters(**parameters)
        except Exception as error:  # submitit asserts, too
            for place in missing:
                place.rmdir()
            given = ", ".join(f"{key}: {value}" for key, value in parameters.items())
            raise ConfigError(
                f"hydra.launcher.parameters={{{shown(given)}}}: not allowed. submitit: {one_line(error)}"
            ) from error
        self.jobs: dict[Future[Any], Any] = {}

    def describe(self) -> str:
        return f"at most {self.slots} at a time in the queue of submitit's cluster {self.cluster!r}"

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            with modules_from_elsewhere():
                self.jobs[future] = job = self.executor.submit(_call, function, *arguments)
        except Exception as error:  # what sbatch says: this job's failure, while others are in the queue
            future.set_exception(RunError(f"submitit: {' '.join(str(error).split())}"))
        else:
            threading.Thread(target=_follow, args=(job, future), daemon=True).start()
        return future

    def death(self, error: BaseException) -> Death | None:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not isinstance(error, UncompletedJobError) or isinstance(error, FailedJobError):
            return None  # a FailedJobError holds an exception of the call itself
        return Death("(a Slurm job) ended without a result")

    def shrink(self) -> bool:
        return False  # Slurm gives each job the memory that it asks for

    def stop(self) -> None:
        for future, job in self.jobs.items():
            if not future.done():
                job.cancel(check=False)  # SIGTERM, which a run obeys between two steps, well before Slurm's SIGKILL

    def close(self, *, at_once: bool) -> None:
        if at_once:
            self.stop()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a job of Slurm's. A signal before its time is over, submitit would take for the end of what cannot go on."""
    with listening():
        return function(*arguments)


def _follow(job: Any, future: "Future[Any]") -> None:
    try:
        while not job.done():
            time.sleep(POLL)
        future.set_result(job.result())
    except BaseException as error:
        future.set_exception(error)
