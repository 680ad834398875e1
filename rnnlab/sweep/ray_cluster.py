"""Workers of a Ray cluster, one here or one that is there already. Every node sees the same working directory."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import chdir
from pathlib import Path
from typing import Any

from rnnlab.contract import RunError
from rnnlab.messages import one_line, shown
from rnnlab.processors import cores
from rnnlab.sweep.backend import Death
from rnnlab.sweep.search_path import variables

SECONDS_TO_CONNECT = 5.0
"""For a port to be open."""
SECONDS_TO_ANSWER = 30.0
"""For a cluster to take us in."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


_TRIAL = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"


class RayCluster:
    """See `Backend`.

    Args:
        address: `auto` for the cluster that this machine is a node of, HOST:PORT, or None for one that is started here
            and ends with the sweep.
        cpus: of a job: its threads.
        gpus: of a job, a part of one if below 1.
        retries: of a job whose worker or node died; the next worker goes on from its checkpoint.
        jobs: at the same time; None for as many as the cluster's CPUs and GPUs serve.
    """

    def __init__(self, *, address: str | None, cpus: int, gpus: float, retries: int, jobs: int | None) -> None:
        self.address, self.cpus, self.gpus, self.retries, self.jobs = address, cpus, gpus, retries, jobs
        self.references: dict[Future[Any], Any] = {}
        os.environ.update({key: value for key, value in _QUIET.items() if key not in os.environ})
        self.ray = _import_ray()
        self._connect()

    def _connect(self) -> None:
        if self.address is not None:
            _refuse_silent(self.address)
        environment = variables()
        here: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False} if self.address is None else {}
        try:
            # Ray has its workers look for modules in what is the current folder now, before all others.
            with chdir(Path(__file__).anchor):
                # address=local, not None: None looks for a cluster that may be long gone, and waits for it.
                self.ray.init(
                    address=self.address or "local",
                    log_to_driver=False,
                    logging_level="ERROR",
                    runtime_env={"env_vars": environment},
                    **here,
                )
        except Exception as error:  # Ray's own have no common base with those of Python that it raises
            raise _no_cluster(self.address, one_line(error)) from error

        # Ray would run a job again too; the sweep does it itself, so that the overview and the manifest can tell.
        self.task = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_call)

    @property
    def slots(self) -> int:
        total = self.ray.cluster_resources()  # asked for again and again: nodes come and go
        served = int(total.get("CPU", 0) // self.cpus)
        if self.gpus:
            served = min(served, int(total.get("GPU", 0) / self.gpus))
        return max(1, min(served, self.jobs or served))

    @property
    def composers(self) -> int:
        return 2 * self.slots

    def describe(self) -> str:
        nodes = sum(node["Alive"] for node in self.ray.nodes())
        return f"{self.slots} at a time with {self.cpus} thread(s) each on {nodes} Ray node(s)"

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        reference = self.task.remote(os.getcwd(), function, *arguments)
        future = reference.future()
        self.references[future] = reference
        return future

    def death(self, error: BaseException) -> Death | None:
        exceptions = self.ray.exceptions
        if isinstance(error, exceptions.TaskCancelledError):
            return Death("was cancelled", asked=True)
        if isinstance(error, exceptions.OutOfMemoryError):
            return Death("was killed by Ray for lack of memory", starved=True)
        lost = (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.ObjectLostError)
        if isinstance(error, (*lost, exceptions.LocalRayletDiedError, exceptions.RaySystemError)):
            return Death(f"died ({type(error).__name__})")
        return None

    def shrink(self) -> bool:
        return False  # Ray chooses the node

    def stop(self) -> None:
        for future, reference in self.references.items():
            if not future.done():
                self.ray.cancel(reference)  # arrives as Ctrl-C does, which a run obeys between two steps

    def close(self, *, at_once: bool) -> None:
        if at_once:
            for future, reference in self.references.items():
                if not future.done():
                    self.ray.cancel(reference, force=True)
        self.ray.shutdown()


def _call(folder: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """On a worker: a call in the sweep's working directory, which must exist on the worker's node."""
    os.chdir(folder)
    return function(*arguments)


def _refuse_silent(address: str) -> None:
    """Refuse an address at which no cluster answers: Ray would wait for it without end, and deaf to Ctrl-C.

    So another process tries first. `auto` may also be the address of a cluster that is long gone.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
        command = [sys.executable, "-c", _TRIAL, address]
        tried = subprocess.run(
            command,
            env={**os.environ, **variables()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_ANSWER,
        )
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, one_line(error)) from None
    except subprocess.TimeoutExpired:
        raise _no_cluster(address, f"It was waited for {SECONDS_TO_ANSWER:.0f} s") from None
    if tried.returncode:
        raise _no_cluster(address, one_line((tried.stderr.splitlines() or [""])[-1]))


def _no_cluster(address: str | None, why: str) -> RunError:
    return RunError(f"ray_address={shown(address)}: no Ray cluster answers there ({why.rstrip('.')}).")


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise RunError("hydra/launcher=ray needs Ray: pip install 'rnnlab[ray]'.") from None
    return ray
