"""From a sweep's overrides to checked jobs. Done in the workers: Hydra takes a tenth of a second for each."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from rnnlab.contract import ConfigError, RunError
from rnnlab.options import CommandLine
from rnnlab.overrides import check_overrides
from rnnlab.packages import search_current_folder
from rnnlab.rerun import offer
from rnnlab.schema import Config
from rnnlab.sweep.job import Job


class Composer:
    """Makes the configuration of a job; can be sent to another process.

    Args:
        loader: Hydra's, with its search path.
        master: the configuration of the sweep, which Hydra composed from what all jobs share.
        packages: that the user allows components to come from.
        stored: the configuration of a run that is run again; None for one of configs/.
    """

    def __init__(
        self, loader: Any, master: DictConfig, packages: tuple[str, ...] = (), stored: dict[str, Any] | None = None
    ) -> None:
        self.loader, self.master, self.packages, self.stored = loader, master, packages, stored

    def jobs(self, tasks: list[tuple[int, tuple[str, ...]]]) -> list[Job]:
        """Numbers and overrides as jobs."""
        search_current_folder(self.packages)
        if self.stored is not None:
            offer(self.stored)
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
            folder = run_folder(build(config, say=notes.append)).path
        except (ConfigError, RunError, OSError) as error:
            return Job(number, shown, refused=str(error))
        return Job(number, shown, config, folder, notes=tuple(notes))

    def _config(self, number: int, overrides: tuple[str, ...]) -> Config:
        from rnnlab.cli import checked
        from rnnlab.explain import explain

        check_overrides(list(overrides))  # of an arm too, which Hydra has not seen
        try:
            composed = self.loader.load_sweep_config(self.master, list(overrides))
        except Exception as error:  # Hydra and OmegaConf have no common base
            raise ConfigError(explain(error, CommandLine({}, list(overrides)))) from None
        with open_dict(composed):
            composed.hydra.job.num, composed.hydra.job.id = number, str(number)
            HydraConfig.instance().set_config(composed)  # ${hydra:…} is resolved against it
            del composed["hydra"]
        OmegaConf.set_struct(composed, True)
        return checked(composed, self.packages)
