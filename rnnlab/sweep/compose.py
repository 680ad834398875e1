"""From a sweep's overrides to checked jobs. Done in the workers: Hydra takes a tenth of a second for each."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from rnnlab.contract import ConfigError, RunError
from rnnlab.schema import Config
from rnnlab.sweep.job import Job


class Composer:
    """Makes the configuration of a job; can be sent to another process.

    Args:
        loader: Hydra's, with its search path.
        master: the configuration of the sweep, which Hydra composed from what all jobs share.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master

    def jobs(self, tasks: list[tuple[int, tuple[str, ...]]]) -> list[Job]:
        """Numbers and overrides as jobs."""
        setup_globals()
        Plugins.instance()  # the configuration sources, and what plug-ins store
        return [self._job(number, overrides) for number, overrides in tasks]

    def _job(self, number: int, overrides: tuple[str, ...]) -> Job:
        from rnnlab.build import build
        from rnnlab.training.run import run_folder

        notes: list[str] = []
        shown = tuple(o for o in overrides if not o.lstrip("+~").startswith("hydra"))
        try:
            config = self._config(number, overrides)
            experiment = build(config, say=notes.append)
            folder = run_folder(experiment).path
        except (ConfigError, RunError, OSError) as error:
            return Job(number, shown, refused=str(error))
        memory = 0 if experiment.device.type == "cuda" else experiment.memory.bytes
        return Job(number, shown, config, folder, notes=tuple(notes), memory=memory)

    def _config(self, number: int, overrides: tuple[str, ...]) -> Config:
        from rnnlab.cli import checked, explain_hydra

        try:
            composed = self.loader.load_sweep_config(self.master, list(overrides))
        except Exception as error:  # Hydra and OmegaConf have no common base
            raise ConfigError(explain_hydra(error, list(overrides))) from None
        with open_dict(composed):
            composed.hydra.job.num, composed.hydra.job.id = number, str(number)
            HydraConfig.instance().set_config(composed)  # ${hydra:…} is resolved against it
            del composed["hydra"]
        OmegaConf.set_struct(composed, True)
        return checked(composed)
