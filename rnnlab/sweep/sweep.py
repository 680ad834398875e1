"""A sweep: compose every job, run what is missing, and end with what failed and why. Imports no torch."""

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from itertools import accumulate
from pathlib import Path
from typing import Any

from rnnlab.contract import ConfigError, RunError
from rnnlab.interruption import listening
from rnnlab.memory.available import available
from rnnlab.memory.size import size
from rnnlab.runs.state import mark_dead, state_of
from rnnlab.sinks.console import say
from rnnlab.sweep.backend import Backend
from rnnlab.sweep.compose import Composer
from rnnlab.sweep.ending import tell
from rnnlab.sweep.job import Job, Outcome, labels, objective
from rnnlab.sweep.local_pool import LocalPool
from rnnlab.sweep.overview import Overview
from rnnlab.sweep.work import describe, perform

POLL = 0.2
"""Seconds after which a signal is seen at the latest."""
BUSY_AGAIN = 1.0
"""Seconds until a job that another process works on is looked at again."""
LOSSES = 3
"""So many times in a row a worker may die before it has begun."""


class Sweep:
    """Everything that happened under one command: a search calls `launch` several times, a grid once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.outcomes: dict[int, Outcome] = {}
        self.backend: Backend | None = None
        self._told: set[str] = set()

    def launch(
        self, make_backend: Callable[[int], Backend], composer: Composer, overrides: list[tuple[str, ...]], first: int
    ) -> list[Outcome]:
        """Work on some jobs until each has an outcome.

        Args:
            make_backend: given the number of jobs; asked for once in a sweep.
            overrides: of each job.
            first: the number of the first.
        Raises:
            ConfigError: every configuration is wrong; nothing was trained.
            KeyboardInterrupt: interrupted; every job can be gone on with.
        """
        with listening("Stopping: every job writes its checkpoint …") as interrupted:
            if self.backend is None:
                say("Starting the workers, which check every configuration first …")
                self.backend = make_backend(len(overrides))
            tasks = list(enumerate(overrides, start=first))
            jobs = _compose(self.backend, composer, tasks, interrupted)
            self.jobs += jobs
            self.outcomes |= {job.number: Outcome("refused", job.refused) for job in jobs if job.refused}
            if all(job.refused for job in jobs):
                raise ConfigError("\n".join(dict.fromkeys(job.refused for job in jobs)))
            self._tell_notes(jobs)
            if isinstance(self.backend, LocalPool) and (crowded := _crowded(jobs, self.backend.slots)):
                say(crowded)
            overview = Overview(len(jobs), labels(jobs))
            round_ = _Round(self.backend, jobs, self.outcomes, overview)
            try:
                round_.run(interrupted)
            except KeyboardInterrupt:
                self.close(at_once=True)
                round_.bury_all()
                raise
            finally:
                overview.close()
            if interrupted():
                raise KeyboardInterrupt(_interrupted(jobs, self.outcomes))
        return [self.outcomes[job.number] for job in jobs]

    def tell(self) -> int:
        """Print the ending; the exit status."""
        return tell(self.jobs, self.outcomes)

    def close(self, *, at_once: bool = False) -> None:
        """End the workers."""
        if self.backend is not None:
            self.backend.close(at_once=at_once)
            self.backend = None

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


def _compose(
    backend: Backend, composer: Composer, tasks: list[tuple[int, tuple[str, ...]]], interrupted: Callable[[], bool]
) -> list[Job]:
    """All jobs, composed by the workers, many in a piece since the composer has to be sent with each."""
    length = math.ceil(len(tasks) / backend.composers)
    pieces = [tasks[at : at + length] for at in range(0, len(tasks), length)]
    jobs: list[Job] = []
    for piece in _all(backend, composer.jobs, pieces, interrupted):
        jobs += piece
    return sorted(jobs, key=lambda job: job.number)


def _all(backend: Backend, function: Callable[..., Any], arguments: list[Any], interrupted: Callable[[], bool]) -> Any:
    """The results of short calls, in any order. A call whose worker died is made again."""
    under_way = {backend.submit(function, argument): (argument, LOSSES) for argument in arguments}
    while under_way:
        done, _ = wait(under_way, timeout=POLL, return_when=FIRST_COMPLETED)
        if interrupted():
            raise KeyboardInterrupt("Interrupted before anything was trained.")
        for future in done:
            argument, left = under_way.pop(future)
            error = future.exception()
            death = error and backend.death(error)
            if error is None:
                yield future.result()
            elif death and left:
                under_way[backend.submit(function, argument)] = (argument, left - 1)
            elif death:
                raise RunError(f"The workers of the sweep cannot begin: {death}.")
            else:
                raise error


class _Round:
    """The jobs of one launch, from the first begun to the last ended."""

    def __init__(self, backend: Backend, jobs: list[Job], outcomes: dict[int, Outcome], overview: Overview) -> None:
        self.backend, self.jobs, self.outcomes, self.overview = backend, jobs, outcomes, overview
        self.waiting: deque[Job] = deque()
        self.busy: list[tuple[float, Job]] = []
        self.under_way: dict[Future[Outcome], Job] = {}
        self.runner: dict[Path, Job] = {}
        self.deaths: dict[int, int] = {}
        self.lost = 0

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Until every job has an outcome."""
        self._sort()
        stopped = False
        while self.waiting or self.busy or self.under_way:
            if interrupted() and not stopped:
                stopped = True
                self.backend.stop()
                self.waiting.clear()
                self.busy.clear()
            self._begin()
            for future in wait(self.under_way, timeout=POLL, return_when=FIRST_COMPLETED).done:
                self._take(self.under_way.pop(future), future, stopped)
            if not self.under_way and self.busy:
                time.sleep(POLL)
            self.overview.look()
        for job in self.jobs:
            self.outcomes.setdefault(job.number, Outcome("waiting"))
        self._share()

    def _sort(self) -> None:
        """What was refused or is finished needs no worker; of jobs with the same run, one works for all."""
        seen = self.runner
        for job in self.jobs:
            if job.folder is not None and job.folder not in seen:
                seen[job.folder] = job
                if not self._finished(job):
                    self.waiting.append(job)
        twice = len(self.jobs) - len(seen) - sum(bool(job.refused) for job in self.jobs)
        self.overview.total -= twice
        parts = [f"{len(self.jobs)} jobs", f"{self.overview.counts['skipped']} finished before"]
        parts += [f"{twice} the same as another"] if twice else []
        self.overview.note(f"{', '.join(parts)}; {len(self.waiting)} to run, {self.backend.describe()}")
        for job in self.jobs:
            if job.refused:
                self._end(job, Outcome("refused", job.refused))

    def _finished(self, job: Job) -> bool:
        """Whether there is nothing to do; the job then has its outcome."""
        if job.folder is None or job.config is None or job.config.force or state_of(job.folder) != "finished":
            return False
        try:
            self._end(job, Outcome("skipped", objective=objective(job.folder)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"finished before, but summary.json cannot be read ({describe(error)}); force=true runs it again"
            self._end(job, Outcome("failed", why))
        return True

    def _share(self) -> None:
        """Jobs that are the same run have the same outcome."""
        for job in self.jobs:
            runner = self.runner.get(job.folder) if job.folder else None
            if runner is not None and runner is not job:
                self.outcomes[job.number] = self.outcomes[runner.number]

    def _begin(self) -> None:
        now = time.monotonic()
        self.waiting.extend(job for due, job in self.busy if due <= now)
        self.busy = [(due, job) for due, job in self.busy if due > now]
        while self.waiting and len(self.under_way) < self.backend.slots:
            job = self.waiting.popleft()
            if self._finished(job):  # by another sweep, meanwhile
                continue
            self.under_way[self.backend.submit(perform, job.config)] = job
            self.overview.start(job)

    def _take(self, job: Job, future: "Future[Outcome]", stopped: bool) -> None:
        error = future.exception()
        if error is None:
            self.lost = 0
            outcome = future.result()
            if outcome.status == "busy" and not stopped:
                self._again(job)
            elif outcome.status == "busy":
                self._end(job, Outcome("waiting"))
            else:
                self._end(job, outcome)
        elif isinstance(error, BrokenExecutor) and not stopped:
            self.lost += 1
            if self.lost > LOSSES:
                raise RunError("The workers of the sweep cannot begin: each died in its start.")
            self._again(job)
        else:
            self._bury(job, error, stopped)

    def _bury(self, job: Job, error: BaseException, stopped: bool) -> None:
        """The worker died, or the call failed in a way that `perform` does not know."""
        death = self.backend.death(error)
        if death and stopped:
            begun = not isinstance(error, BrokenExecutor)
            if begun and job.folder is not None:
                mark_dead(job.folder, "interrupted", death)
            self._end(job, Outcome("interrupted" if begun else "waiting", death))
            return
        self.deaths[job.number] = self.deaths.get(job.number, 0) + 1
        if death and self.deaths[job.number] <= self.backend.retries:
            self.overview.note(f"{self.overview.labels[job.number]}: {death}; another goes on from its checkpoint")
            self._again(job)
            return
        reason = death or describe(error)
        if job.folder is not None:
            mark_dead(job.folder, "failed", reason)
        self._end(job, Outcome("failed", reason))

    def bury_all(self) -> None:
        """The workers were killed."""
        for job in self.under_way.values():
            if job.folder is not None:
                mark_dead(job.folder, "interrupted", "stopped at once")

    def _again(self, job: Job) -> None:
        self.overview.pause(job)
        self.busy.append((time.monotonic() + BUSY_AGAIN, job))

    def _end(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job.number] = outcome
        self.overview.end(job, outcome)


def _interrupted(jobs: list[Job], outcomes: dict[int, Outcome]) -> str:
    def count(*statuses: str) -> int:
        return sum(outcomes[job.number].status in statuses for job in jobs)

    failed = count("failed", "refused")
    return (
        f"Interrupted: {count('finished', 'skipped')} of {len(jobs)} jobs are finished, {count('interrupted')} have "
        f"written a checkpoint, {count('waiting')} have not begun{f', {failed} have failed' if failed else ''}. "
        "The same command goes on."
    )
