"""A sweep: compose every job, run what is missing, and end with what failed and why. Imports no torch."""

from collections.abc import Callable
from itertools import accumulate

from rnnlab.contract import ConfigError, RunError
from rnnlab.interruption import listening, unfinished
from rnnlab.memory.available import available
from rnnlab.memory.size import size
from rnnlab.sinks.console import say
from rnnlab.sweep.backend import Backend
from rnnlab.sweep.compose import Composer, Task, compose, shown
from rnnlab.sweep.crew import Crew
from rnnlab.sweep.ending import tell
from rnnlab.sweep.job import Job, JobOutcome, labels
from rnnlab.sweep.local_pool import LocalPool
from rnnlab.sweep.overview import Overview
from rnnlab.sweep.round import Round
from rnnlab.sweep.work import describe


class Sweep:
    """Everything that happened under one command: a search calls `launch` several times, a grid once."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.outcomes: dict[int, JobOutcome] = {}
        self.crew: Crew | None = None
        self._told: set[str] = set()

    def launch(
        self,
        make_backend: Callable[[int], Backend],
        composer: Composer,
        overrides: list[tuple[str, ...]],
        first: int,
        begin: Callable[[], None] = lambda: None,
    ) -> list[JobOutcome]:
        """Work on some jobs until each has an outcome.

        Args:
            make_backend: given the number of jobs; asked for once in a sweep.
            overrides: of each job.
            first: the number of the first.
            begin: called when at least one configuration was found right, before anything is trained.
        Raises:
            RunError: the workers cannot go on.
            KeyboardInterrupt: interrupted; every job can be gone on with. As above, each has an outcome.
        """
        tasks = list(enumerate(overrides, start=first))
        with listening("Stopping: every job writes its checkpoint …") as interrupted:
            try:
                self._launch(make_backend, composer, tasks, begin, interrupted)
            except (ConfigError, RunError) as error:
                self._end_without(tasks, str(error))
                raise
            except Exception as error:
                self._end_without(tasks, describe(error))
                raise RunError(f"The sweep cannot go on: {describe(error)}") from error
            if interrupted():
                raise KeyboardInterrupt("Interrupted. The same command goes on.")
        return [self.outcomes[number] for number, _ in tasks]

    def _launch(
        self,
        make_backend: Callable[[int], Backend],
        composer: Composer,
        tasks: list[Task],
        begin: Callable[[], None],
        interrupted: Callable[[], bool],
    ) -> None:
        if self.crew is None:
            say("Starting the workers, which check every configuration first …")
            self.crew = Crew(make_backend(len(tasks)), say)
        self.jobs |= {number: Job(number, shown(one)) for number, one in tasks}
        jobs = compose(self.crew, composer, tasks, interrupted)
        self.jobs |= {job.number: job for job in jobs}
        self.outcomes |= {job.number: JobOutcome("refused", job.refused) for job in jobs if job.refused}
        if all(job.refused for job in jobs):
            return
        begin()
        self._tell_notes(jobs)
        if isinstance(self.crew.backend, LocalPool) and (crowded := _crowded(jobs, self.crew.backend.slots)):
            say(crowded)
        overview = Overview(len(jobs), labels([*self.jobs.values()]))  # of a search, those of its earlier rounds too
        self.crew.say = overview.note
        round_ = Round(self.crew, jobs, self.outcomes, overview)

        def leave() -> None:
            self.close(at_once=True)
            round_.bury_all()

        try:
            with unfinished(lambda: False, leave):
                round_.run(interrupted)
        except KeyboardInterrupt:
            leave()
            raise
        finally:
            overview.close()

    def _end_without(self, tasks: list[Task], reason: str) -> None:
        for number, _ in tasks:
            self.outcomes.setdefault(number, JobOutcome("waiting", reason))

    def tell(self) -> int:
        """Print the ending; the exit status. As `rnnlab.sweep.ending.tell`."""
        jobs = [*self.jobs.values()]
        return tell(jobs, {job.number: self.outcomes.get(job.number, JobOutcome("waiting")) for job in jobs})

    def close(self, *, at_once: bool = False) -> None:
        """End the workers."""
        if self.crew is not None:
            self.crew.backend.close(at_once=at_once)
            self.crew = None

    def _tell_notes(self, jobs: list[Job]) -> None:
        for text in dict.fromkeys(note for job in jobs for note in job.notes):
            if text not in self._told:
                self._told.add(text)
                say(text)


def _crowded(jobs: list[Job], slots: int) -> str:
    """What to say where so many jobs at a time may need more memory than this machine has; '' where they do not."""
    needs, room = sorted((job.memory for job in jobs), reverse=True)[:slots], available("cpu")
    fits = sum(total <= room.left for total in accumulate(needs))
    if fits == len(needs):
        return ""
    return (
        f"{len(needs)} jobs at a time may need {size(sum(needs))} together, {room.whose} {size(room.bytes)}: "
        f"hydra.launcher.jobs={fits} would fit."
    )
