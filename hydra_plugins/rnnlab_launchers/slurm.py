"""hydra/launcher=slurm: jobs of Slurm's, through submitit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from hydra_plugins.rnnlab_launchers.launcher import SweepLauncher


@dataclass
class SlurmConfig:
    """jobs: in the queue at the same time. parameters: submitit's, for example {slurm_partition: gpu, mem_gb: 8}."""

    _target_: str = "hydra_plugins.rnnlab_launchers.slurm.SlurmLauncher"
    cluster: str = "slurm"
    folder: str = "runs/.submitit"
    jobs: Any = 64
    retries: Any = 2
    parameters: dict[str, Any] = field(default_factory=lambda: {"timeout_min": 240, "cpus_per_task": 1})


ConfigStore.instance().store(group="hydra/launcher", name="slurm", node=SlurmConfig, provider="rnnlab")


class SlurmLauncher(SweepLauncher):
    """See rnnlab.sweep.slurm."""

    def __init__(self, cluster: str, folder: str, jobs: Any, retries: Any, parameters: Any) -> None:
        from rnnlab.contract import Count, CountOrZero, check_value

        self.cluster, self.folder = cluster, Path(folder)
        self.jobs = check_value("hydra.launcher.jobs", jobs, Count)
        self.retries = check_value("hydra.launcher.retries", retries, CountOrZero)
        self.parameters: Any = OmegaConf.to_container(OmegaConf.create(parameters), resolve=True)

    def backend(self, jobs: int) -> Any:
        from rnnlab.sweep.slurm import Slurm

        return Slurm(
            folder=self.folder,
            cluster=self.cluster,
            slots=self.jobs,
            retries=self.retries,
            parameters=self.parameters,
        )
