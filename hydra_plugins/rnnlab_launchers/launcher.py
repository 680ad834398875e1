"""What the launchers have in common: they hand Hydra's jobs to rnnlab.sweep."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SweepLauncher(Launcher):
    """Jobs go to the workers of a backend; their objectives come back, NaN where there are no results."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    @abstractmethod
    def backend(self, jobs: int) -> Any:
        """A new backend for so many jobs."""

    def launch(
        self,
        job_overrides: Sequence[Sequence[str]],
        initial_job_idx: int,
        begin: Callable[[], None] = lambda: None,
    ) -> Sequence[JobReturn]:
        """As Hydra asks for.

        Args:
            begin: called when at least one configuration was found right, before anything is trained.
        """
        from rnnlab.config_files import refuse_hydra_in_files
        from rnnlab.sweep.compose import Composer
        from rnnlab.sweep.sweep import Sweep

        refuse_hydra_in_files(self.config.hydra)
        task: Any = self.task
        task.sweep = task.sweep or Sweep()
        composer = Composer(self.context.config_loader, self.config, task.packages, task.stored)
        overrides = [tuple(one) for one in job_overrides]
        outcomes = task.sweep.launch(self.backend, composer, overrides, initial_job_idx, begin)
        results = []
        for one, outcome in zip(overrides, outcomes, strict=True):
            # Completed for Hydra in any case, which would raise otherwise; the sweep itself tells what failed.
            result = JobReturn(overrides=one, status=JobStatus.COMPLETED)
            result.return_value = outcome.objective
            results.append(result)
        return results
