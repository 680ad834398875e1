"""hydra/sweeper=optuna: a search, its study in runs/NAME/study.journal."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.rnnlab_launchers.launcher import SweepLauncher


@dataclass
class OptunaConfig:
    """trials: with an objective, in all sessions together. at_once: trials per batch; auto for as many as cores."""

    _target_: str = "hydra_plugins.rnnlab_launchers.optuna.OptunaSweeper"
    trials: Any = 20
    at_once: Any = "auto"
    seed: Any = 0
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=OptunaConfig, provider="rnnlab")


class OptunaSweeper(Sweeper):
    """See rnnlab.sweep.search."""

    def __init__(self, trials: Any, at_once: Any, seed: Any, params: Any) -> None:
        from rnnlab.contract import Count, Seed, check_value
        from rnnlab.processors import cores

        self.trials = check_value("hydra.sweeper.trials", trials, Count)
        self.at_once = cores() if at_once == "auto" else check_value("hydra.sweeper.at_once", at_once, Count)
        self.seed = None if seed is None else check_value("hydra.sweeper.seed", seed, Seed)
        self.params: dict[str, Any] = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from rnnlab.contract import ConfigError

        self.hydra_context, self.config = hydra_context, config
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(launcher, SweepLauncher):
            raise ConfigError("hydra/sweeper=optuna: not allowed with this launcher. Allowed: local, ray, slurm.")
        self.launch: Any = launcher.launch
        self.task: Any = task_function

    def sweep(self, arguments: list[str]) -> None:
        from rnnlab.contract import check_value
        from rnnlab.interruption import listening
        from rnnlab.schema import SCALARS
        from rnnlab.sweep.search import Search, chosen

        assert self.hydra_context is not None
        assert self.config is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = {o.get_key_element(): o for o in parser.parse_overrides([f"{k}={v}" for k, v in self.params.items()])}
        given |= {o.get_key_element(): o for o in parser.parse_overrides(arguments)}
        fixed = [str(o.input_line) for o in given.values() if not o.is_sweep_override()]
        folder = Path("runs") / check_value("name", self.config.name, SCALARS["name"])
        space = dict(chosen(list(given.values()), self.config))
        search = Search(folder, fixed=fixed, space=space, trials=self.trials, seed=self.seed, command=self.task.command)
        with listening("Stopping after this batch of trials …") as interrupted:
            search.run(self._launch, self.at_once, interrupted)

    def _launch(self, overrides: list[tuple[str, ...]], first: int, begin: Callable[[], None]) -> list[float]:
        return [float(job.return_value) for job in self.launch(overrides, first, begin)]
