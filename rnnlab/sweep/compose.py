"""From a sweep's overrides to checked jobs. Done in the workers: Hydra takes a tenth of a second for each."""

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from rnnlab.config import Config
from rnnlab.contract import ConfigError, RunError
from rnnlab.entrance import UNTRAINED
from rnnlab.hydra_defaults import set_ours
from rnnlab.interruption import unfinished
from rnnlab.options import CommandLine
from rnnlab.overrides import check_overrides
from rnnlab.packages import admit
from rnnlab.rerun import offer
from rnnlab.sweep.crew import Crew
from rnnlab.sweep.job import Job
from rnnlab.sweep.work import describe

LOSSES = 3
"""So often a piece of the composing whose worker died in its middle is given to another."""
Task = tuple[int, tuple[str, ...]]
"""The number of a job and its overrides."""


def shown(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """What of a job's overrides the user is told: not those of Hydra's own keys."""
    return tuple(o for o in overrides if not o.lstrip("+~").startswith("hydra"))


def compose(crew: Crew, composer: "Composer", tasks: list[Task], interrupted: Callable[[], bool]) -> list[Job]:
    """All jobs, composed by the workers, many in a piece since the composer has to be sent with each.

    Raises:
        RunError: no worker can begin.
        KeyboardInterrupt: interrupted.
    """
    backend = crew.backend
    length = math.ceil(len(tasks) / backend.composers)
    waiting = deque((tasks[at : at + length], 0) for at in range(0, len(tasks), length))
    under_way: dict[Future[list[Job]], tuple[list[Task], int]] = {}
    jobs: list[Job] = []
    while waiting or under_way:
        if interrupted():
            raise KeyboardInterrupt(UNTRAINED)
        while waiting and crew.has_room(under_way):
            piece = waiting.popleft()
            under_way[backend.submit(composer.jobs, piece[0])] = piece
        for future in crew.wait(under_way):
            piece, losses = under_way.pop(future)
            error = future.exception()
            death = backend.death(error) if error else None
            if death and not death.begun:
                waiting.append((piece, losses))
                crew.died_in_its_start(death)
                continue
            crew.came_back()
            if error is None:
                jobs += future.result()
            elif isinstance(error, ConfigError | RunError):  # of the whole sweep
                raise error
            elif death and losses < LOSSES:
                if death.starved:
                    backend.shrink()
                waiting.append((piece, losses + 1))
            elif len(piece) > 1:  # so that one of them alone is refused
                waiting.extend(([task], LOSSES) for task in piece)
            else:
                ((number, overrides),) = piece
                why = f"the worker that checked the configuration {death.reason}" if death else describe(error)
                jobs.append(Job(number, shown(overrides), refused=why))
    return sorted(jobs, key=lambda job: job.number)


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

    def jobs(self, tasks: list[Task]) -> list[Job]:
        """Numbers and overrides as jobs."""
        admit(self.packages)
        set_ours()
        if self.stored is not None:
            offer(self.stored)
        setup_globals()
        Plugins.instance()  # the configuration sources, and what plug-ins store
        with unfinished(lambda: True, lambda: None):  # a worker that is asked to end returns what it has done
            return [self._job(number, overrides) for number, overrides in tasks]

    def _job(self, number: int, overrides: tuple[str, ...]) -> Job:
        from rnnlab.build import build
        from rnnlab.training.run import run_folder

        notes: list[str] = []
        try:
            config = self._config(number, overrides)
            experiment = build(config, say=notes.append)
            folder = run_folder(experiment).path
        except BaseException as error:  # also of a component of the user's own, in its constructor or its module
            return Job(number, shown(overrides), refused=describe(error))
        memory = 0 if experiment.device.type == "cuda" else experiment.memory.bytes
        return Job(number, shown(overrides), config, folder, notes=tuple(notes), memory=memory)

    def _config(self, number: int, overrides: tuple[str, ...]) -> Config:
        from rnnlab.composed import checked
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
