"""hydra/sweeper=grid: every combination, like Hydra's own, whose configurations are composed by the workers."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from rnnlab.contract import ConfigError, Count, check_value
from rnnlab.messages import shown

MOST_JOBS = 100_000
"""In one sweep."""


@dataclass
class GridConfig:
    """As Hydra's, and two more.

    arms: overrides, separated by spaces, one string per arm: each combination of the rest is run with each of them.
    params_by_option: {GROUP: {OPTION: {KEY: VALUES}}}, swept where the job has that option.
    """

    _target_: str = "hydra_plugins.rnnlab_launchers.grid.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    arms: list[str] = field(default_factory=list)
    params_by_option: dict[str, Any] = field(default_factory=dict)


for name in ("grid", "basic"):  # Hydra's own by that name writes a file beside the runs
    ConfigStore.instance().store(group="hydra/sweeper", name=name, node=GridConfig, provider="rnnlab")


class GridSweeper(BasicSweeper):
    """Every combination of what is given with commas, ranges and globs, for every arm."""

    def __init__(self, max_batch_size: int | None, params: Any, arms: Any, params_by_option: DictConfig) -> None:
        super().__init__(check_value("hydra.sweeper.max_batch_size", max_batch_size, Literal[None] | Count), params)
        for arm in arms:
            if not isinstance(arm, str):
                raise ConfigError(
                    f"hydra.sweeper.arms: {shown(arm)}: not allowed. Write an arm as one text: 'A=1 B=2'."
                )
        self.arms = [arm.split() for arm in arms]
        self.by_option: Any = params_by_option
        for options in params_by_option.values():
            if not (isinstance(options, Mapping) and all(isinstance(keys, Mapping) for keys in options.values())):
                raise ConfigError(
                    f"hydra.sweeper.params_by_option: {shown(options)}: not allowed. "
                    "Write {GROUP: {OPTION: {KEY: VALUES}}}."
                )

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """Every combination. Counted before it is made: `range(1,1000000000)` would fill the memory."""
        jobs = 1
        for override in overrides:
            if override.is_sweep_override() and override.is_discrete_sweep():
                jobs *= sum(1 for _ in itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1))
            if jobs > MOST_JOBS:
                raise ConfigError(f"{shown(override.input_line or '')}: more than {MOST_JOBS} jobs in a sweep.")
        return BasicSweeper.split_arguments(overrides, max_batch_size)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Hydra's own writes the sweep's configuration to a folder, and composes every job, which ours does later."""
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        returns: list[Sequence[JobReturn]] = []
        first = 0
        for batch in self.split_arguments(overrides, self.max_batch_size):
            jobs = [self._with_arm(arm, job) for arm in self.arms or [[]] for job in batch]
            jobs = [one for job in jobs for one in self._with_options(job)]
            results = self.launcher.launch(jobs, initial_job_idx=first)
            for result in results:
                _ = result.return_value  # raises what a job of Hydra's own launcher has raised
            returns.append(results)
            first += len(jobs)
        return returns

    @staticmethod
    def _with_arm(arm: list[str], job: list[str]) -> list[str]:
        """The arm's overrides before the job's; what the user has set stays."""
        given = {override.split("=", 1)[0] for override in job}
        return [*(override for override in arm if override.split("=", 1)[0] not in given), *job]

    def _with_options(self, job: list[str]) -> list[list[str]]:
        """A job for each combination of what its options ask for; what the user has set stays."""
        assert self.config is not None
        assert self.hydra_context is not None
        given = dict(override.split("=", 1) for override in job)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        lists: list[list[str]] = []
        for group, by_option in self.by_option.items():
            option = given.get(group) or self.config.hydra.runtime.choices.get(group)
            asked = by_option.get(option) or {}
            overrides = [f"{key}={value}" for key, value in asked.items() if key not in given]
            for override in parser.parse_overrides(overrides):
                key = override.get_key_element()
                lists.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        return [[*job, *one] for one in itertools.product(*lists)]
