"""hydra/launcher=ray: the workers of a Ray cluster. Jobs write below the current folder, which all nodes must share."""

import re
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.rnnlab_launchers.launcher import SweepLauncher


@dataclass
class RayConfig:
    """ray_address: auto, HOST:PORT, or null for a cluster of this machine alone. cpus and gpus: of one job."""

    _target_: str = "hydra_plugins.rnnlab_launchers.ray.RayLauncher"
    ray_address: str | None = None
    cpus: Any = 1
    gpus: Any = 0
    retries: Any = 2
    jobs: Any = "auto"


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayConfig, provider="rnnlab")


class RayLauncher(SweepLauncher):
    """See rnnlab.sweep.ray_cluster."""

    def __init__(self, ray_address: str | None, cpus: Any, gpus: Any, retries: Any, jobs: Any) -> None:
        from rnnlab.contract import ConfigError, Count, CountOrZero, NonNegative, check_value
        from rnnlab.messages import shown

        if ray_address is not None and not re.fullmatch(r"auto|local|(ray://)?\S+:\d+", str(ray_address)):
            raise ConfigError(f"ray_address={shown(ray_address)}: not allowed. Allowed: auto, HOST:PORT, null.")
        self.address = ray_address
        self.jobs = None if jobs == "auto" else check_value("hydra.launcher.jobs", jobs, Count)
        self.cpus = check_value("hydra.launcher.cpus", cpus, Count)
        self.gpus = check_value("hydra.launcher.gpus", gpus, NonNegative)
        self.retries = check_value("hydra.launcher.retries", retries, CountOrZero)

    def backend(self, jobs: int) -> Any:
        from rnnlab.sweep.ray_cluster import RayCluster

        return RayCluster(address=self.address, cpus=self.cpus, gpus=self.gpus, retries=self.retries, jobs=self.jobs)
