"""How a sweep stands: a live table on a terminal, else a line per job."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from rnnlab.runs.safe_files import open_regular, visible
from rnnlab.sinks.console import say
from rnnlab.sweep.job import ENDINGS, RESULTS, Job, JobOutcome

SECONDS_BETWEEN_LOOKS = 1.0
"""At the running jobs' metrics, for their steps."""


class Overview:
    """Jobs finished, running and failed, and the time left.

    Args:
        total: jobs of this sweep.
        labels: by a job's number, what tells it from the others.
        clock: seconds.
    """

    def __init__(
        self,
        total: int,
        labels: dict[int, str],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.labels, self.clock = total, labels, clock
        self.console = console or Console(highlight=False)
        self.counts = dict.fromkeys(ENDINGS, 0)
        self.running: dict[int, _Running] = {}
        self.shown: dict[int, TaskID] = {}
        self.began = self.looked = self.clock()
        self.worked = 0.0  # of the jobs that have ended, what was done in this session: 1 for a whole one
        self.bar: Progress | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[note]}"))
            self.bar = Progress(*columns, console=self.console, refresh_per_second=4, transient=True)
            self.all = self.bar.add_task("all jobs", total=total, note="")
            self.bar.start()

    def start(self, job: Job) -> None:
        """A worker has taken the job."""
        step = 0 if job.config is None or job.config.force else last_step(job)
        self.running[job.number] = _Running(job, self.clock(), step, step)
        # As many lines as a terminal has room for.
        if self.bar is not None and job.config is not None and len(self.shown) < max(1, self.console.height - 6):
            label = self.labels[job.number]
            self.shown[job.number] = self.bar.add_task(f"  {label}", total=job.config.steps, note="")
        self.look()

    def pause(self, job: Job) -> "_Running | None":
        """The job is not worked on any more."""
        if self.bar is not None and job.number in self.shown:
            self.bar.remove_task(self.shown.pop(job.number))
        return self.running.pop(job.number, None)

    def end(self, job: Job, outcome: JobOutcome) -> None:
        """The job has its outcome."""
        worked = self.pause(job)
        self.worked += 1 - worked.part(worked.first) if worked else 0
        self.counts[outcome.status] += 1
        if self.bar is None and outcome.status not in ("skipped", "waiting"):
            place = f"[{self.done():>{len(str(self.total))}}/{self.total}]"
            reason = f": {visible(outcome.reason)}" if outcome.reason else ""
            took = f" in {duration(self.clock() - worked.began)}" if worked else ""
            label = self.labels[job.number]
            say(f"{place} {ENDINGS[outcome.status]}{took}  {label}{reason}{self._left('; ')}")
        self.look()

    def note(self, text: str) -> None:
        """A line above the table."""
        if self.bar is not None:
            self.bar.console.print(text, markup=False)
        else:
            say(text)

    def done(self) -> int:
        return sum(self.counts.values())

    def look(self, *, force: bool = False) -> None:
        """Draw what is new."""
        now = self.clock()
        due = force or now - self.looked > SECONDS_BETWEEN_LOOKS
        if due:
            self.looked = now
            for running in self.running.values():
                running.step = last_step(running.job)
        if self.bar is None:
            return
        for number, task in self.shown.items() if due else ():
            running = self.running[number]
            self.bar.update(task, completed=running.step, note=f"step {running.step}, {duration(now - running.began)}")
        bad = sum(count for status, count in self.counts.items() if status not in RESULTS)
        note = f"{self.done()}/{self.total} done, {len(self.running)} running, {bad} failed{self._left(', ')}"
        self.bar.update(self.all, completed=self.done(), note=note)

    def _left(self, before: str) -> str:
        """Time left, when the jobs to come take as long as what was done of others in this session."""
        running = self.running.values()
        done = self.worked + sum(one.part(max(0, one.step - one.first)) for one in running)
        left = self.total - self.done() - sum(one.part(one.step) for one in running)
        if not done or left <= 0:
            return ""
        return f"{before}about {duration((self.clock() - self.began) / done * left)} left"

    def close(self) -> None:
        if self.bar is not None:
            self.look(force=True)
            self.bar.stop()
            self.bar = None


@dataclass
class _Running:
    """A job that is worked on, since when, from which step on, and how far it is."""

    job: Job
    began: float
    first: int
    step: int

    def part(self, steps: int) -> float:
        """So many steps as a part of the whole job."""
        return min(1.0, steps / self.job.config.steps) if self.job.config else 0.0


def last_step(job: Job) -> int:
    """The step of the last whole line of a job's metrics; 0 where there is none."""
    try:
        with open_regular((job.folder or Path()) / "metrics.jsonl") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().split(b"\n")[:-1]
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return 0


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
