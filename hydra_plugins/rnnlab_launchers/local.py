"""hydra/launcher=local: processes of this machine, the default."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.rnnlab_launchers.launcher import SweepLauncher


@dataclass
class LocalConfig:
    """jobs: at the same time; auto for as many as there are cores. Each has cores / jobs threads."""

    _target_: str = "hydra_plugins.rnnlab_launchers.local.LocalLauncher"
    jobs: Any = "auto"


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalConfig, provider="rnnlab")


class LocalLauncher(SweepLauncher):
    """See rnnlab.sweep.local_pool."""

    def __init__(self, jobs: Any) -> None:
        from rnnlab.contract import Count, check_value

        self.jobs = None if jobs == "auto" else check_value("hydra.launcher.jobs", jobs, Count)

    def backend(self, jobs: int) -> Any:
        from rnnlab.processors import cores
        from rnnlab.sweep.local_pool import LocalPool, share

        slots, threads = share(jobs, self.jobs, cores())
        return LocalPool(slots=slots, threads=threads)
