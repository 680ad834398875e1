"""The loop that works on a sweep's jobs, the same for every backend: deaths, interruptions, folders in use, doubles."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from rnnlab.runs.damage import DamagedError
from rnnlab.runs.record import SAVED, Record
from rnnlab.runs.state import mark_dead, state_of
from rnnlab.sweep.backend import Death
from rnnlab.sweep.crew import Crew
from rnnlab.sweep.job import Job, JobOutcome, objective
from rnnlab.sweep.overview import Overview
from rnnlab.sweep.work import describe, perform

AGAIN = 1.0
"""Seconds until a job that could not be worked on to its end is looked at again; other jobs go first."""
INTERRUPTIONS = 2
"""So often a job whose worker alone was interrupted, and got no further, is given to another; `retries` may be more."""


class Round:
    """The jobs of one launch, from the first begun to the last ended.

    Args:
        crew: whom they are given to.
        jobs: composed.
        outcomes: by a job's number; filled here.
        overview: told what happens.
    """

    def __init__(self, crew: Crew, jobs: list[Job], outcomes: dict[int, JobOutcome], overview: Overview) -> None:
        self.crew, self.jobs, self.outcomes, self.overview = crew, jobs, outcomes, overview
        self.waiting: deque[Job] = deque()
        self.later: list[tuple[float, Job]] = []
        self.under_way: dict[Future[JobOutcome], Job] = {}
        self.runner: dict[Path, Job] = {}
        self.losses: dict[int, int] = {}
        self.steps: dict[int, int] = {}  # that a job's checkpoint had when it was last given to a worker
        self.last: dict[int, JobOutcome] = {}  # of what is looked at again: how it stands if nothing more happens
        self.stopped = False
        self.told_of_waiting = False
        self.damaged: set[int] = set()  # jobs of whose damage was told

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Until every job has an outcome.

        Raises:
            RunError: no worker can begin. Every job has an outcome then too.
        """
        try:
            self._sort()
            while self.waiting or self.later or self.under_way:
                if interrupted() and not self.stopped:
                    self._stop()
                self._begin()
                for future in self.crew.wait(self.under_way):
                    self._take(self.under_way.pop(future), future)
                self.overview.look()
        except BaseException as error:
            self._settle(" ".join(str(error).split()))
            raise
        self._settle()

    def _sort(self) -> None:
        """What was refused or is finished needs no worker; of jobs with the same run, one works for all."""
        for job in self.jobs:
            if job.folder is not None and job.folder not in self.runner:
                self.runner[job.folder] = job
                if not self._finished(job):
                    self.waiting.append(job)
        twice = len(self.jobs) - len(self.runner) - sum(bool(job.refused) for job in self.jobs)
        self.overview.total -= twice
        parts = [f"{len(self.jobs)} jobs", f"{self.overview.counts['skipped']} finished before"]
        parts += [f"{twice} the same as another"] if twice else []
        self.overview.note(f"{', '.join(parts)}; {len(self.waiting)} to run, {self.crew.backend.describe()}")
        for job in self.jobs:
            if job.refused:
                self._end(job, JobOutcome("refused", job.refused))

    def _finished(self, job: Job) -> bool:
        """Whether there is nothing to do; the job then has its outcome.

        Whatever is in a folder costs its own job at most: where it is damaged a worker repairs it, or tells why not.
        """
        if job.folder is None or job.config is None or job.config.force:
            return False
        try:
            if state_of(job.folder) != "finished":
                return False
            for error in Record(job.folder).damage():
                raise error
            self._end(job, JobOutcome("skipped", objective=objective(job.folder)))
        except DamagedError as error:
            if job.number not in self.damaged:
                self.damaged.add(job.number)
                self.overview.note(f"{error}; a worker sees to it")
            return False
        except Exception:
            return False
        return True

    def _stop(self) -> None:
        self.stopped = True
        self.crew.backend.stop()
        self.waiting.clear()
        self.later.clear()

    def _begin(self) -> None:
        now = time.monotonic()
        self.waiting.extend(job for due, job in self.later if due <= now)
        self.later = [(due, job) for due, job in self.later if due > now]
        self._tell_of_waiting()
        while self.waiting and self.crew.has_room(self.under_way):
            job = self.waiting.popleft()
            if self._finished(job):  # by another sweep, meanwhile
                continue
            self.steps[job.number] = steps_kept(job)
            self.under_way[self.crew.backend.submit(perform, job.config, job.folder)] = job
            self.overview.start(job)

    def _tell_of_waiting(self) -> None:
        """A sweep that only waits for other processes looks as if it hung."""
        last = [(job, self.last.get(job.number)) for _, job in self.later]
        busy = [job for job, outcome in last if outcome and outcome.status == "waiting"]
        if busy and not (self.told_of_waiting or self.under_way or self.waiting):
            self.told_of_waiting = True
            self.overview.note(f"Waiting for jobs that another process works on: {len(busy)}, first {busy[0].folder}")

    def _take(self, job: Job, future: "Future[JobOutcome]") -> None:
        error = future.exception()
        death = self.crew.backend.death(error) if error else None
        if death and not death.begun:
            self._again(job, None)
            if not self.stopped:
                self.crew.died_in_its_start(death)
            return
        self.crew.came_back()
        if death:
            self._lost(job, death, f"its worker {death.reason}")
        elif error:
            self._end(job, JobOutcome("failed", describe(error)))
        elif (outcome := future.result()).status == "busy":
            self._again(job, JobOutcome("waiting", outcome.reason))
        elif outcome.status == "interrupted":
            self._lost(job, Death(outcome.reason, asked=True), outcome.reason)
        else:
            self._end(job, outcome)

    def _lost(self, job: Job, death: Death, reason: str) -> None:
        """A job was left in its middle: another worker goes on, unless that has happened too often.

        A job that takes ten times as long as a batch system's time limit is asked to end ten times, and gets further
        each time: that does not count.
        """
        further = death.asked and steps_kept(job) > self.steps[job.number]
        self.losses[job.number] = self.losses.get(job.number, 0) + (not further)
        if self.stopped or self.losses[job.number] > self._chances(death):
            self._end(job, JobOutcome("interrupted" if death.asked or self.stopped else "failed", reason))
            return
        fewer = f", {self.crew.backend.slots} at a time from now on" if death.starved else ""
        self.overview.note(f"{self.overview.labels[job.number]}: {reason}; another goes on from its checkpoint{fewer}")
        self._again(job, JobOutcome("interrupted", reason))

    def _chances(self, death: Death) -> int:
        """How often a job may be lost like this and yet be gone on with."""
        retries = self.crew.backend.retries
        if death.asked:
            return max(INTERRUPTIONS, retries)
        if death.starved and self.crew.backend.shrink():  # what it lacked is there now, perhaps
            return max(1, retries)
        return retries

    def _again(self, job: Job, outcome: JobOutcome | None) -> None:
        """The job is looked at again, unless the sweep ends before: then that is its outcome."""
        if outcome is not None:
            self.last[job.number] = outcome
        self.overview.pause(job)
        if not self.stopped:
            self.later.append((time.monotonic() + AGAIN, job))

    def _end(self, job: Job, outcome: JobOutcome) -> None:
        if outcome.status in ("failed", "interrupted"):
            self._mark(job, outcome)
        self.outcomes[job.number] = outcome
        self.overview.end(job, outcome)

    def _settle(self, reason: str = "") -> None:
        """An outcome for every job, also where the round was cut short; that of its runner for one that is the same."""
        for job in [*self.under_way.values()]:
            self._end(job, JobOutcome("interrupted", reason))
        for job in self.runner.values():
            if job.number not in self.outcomes:
                self._end(job, self.last.get(job.number) or JobOutcome("waiting", reason))
        for job in self.jobs:
            if job.number not in self.outcomes:
                runner = self.runner.get(job.folder) if job.folder else None
                self.outcomes[job.number] = self.outcomes[runner.number] if runner else JobOutcome("waiting", reason)

    def bury_all(self) -> None:
        """The workers were killed: what their manifests say is corrected."""
        for job in self.under_way.values():
            self._mark(job, JobOutcome("interrupted", "stopped at once"))

    def _mark(self, job: Job, outcome: JobOutcome) -> None:
        """What a dead worker could not write. A folder that cannot be written is none of the others' business."""
        if job.folder is not None:
            with suppress(Exception):
                mark_dead(job.folder, outcome.status, outcome.reason)


def steps_kept(job: Job) -> int:
    """The step of a job's newest checkpoint, by its name; 0 where there is none."""
    found = [SAVED.fullmatch(path.name) for path in (job.folder or Path()).glob("checkpoint/step-*.pt")]
    return max((int(one[1]) for one in found if one), default=0)
