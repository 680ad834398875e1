"""How a sweep stands: a live table on a terminal, else a line per job."""

import json
import os
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from rnnlab.sinks.console import say
from rnnlab.sweep.job import Job, Outcome

SECONDS_BETWEEN_LOOKS = 1.0
"""At the running jobs' metrics, for their steps."""
WORDS = {"finished": "finished", "skipped": "finished before", "failed": "failed", "refused": "refused"}


class Overview:
    """Jobs finished, running and failed, and the time left.

    Args:
        total: jobs of this sweep.
        labels: by a job's number, what tells it from the others.
    """

    def __init__(self, total: int, labels: dict[int, str], console: Console | None = None) -> None:
        self.total, self.labels = total, labels
        self.console = console or Console(highlight=False)
        self.counts = dict.fromkeys(WORDS, 0)
        self.running: dict[int, tuple[Job, float]] = {}
        self.shown: dict[int, TaskID] = {}
        self.began = self.looked = time.monotonic()
        self.worked = 0  # jobs that took time in this session
        self.bar: Progress | None = None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[note]}"))
            self.bar = Progress(*columns, console=self.console, refresh_per_second=4, transient=True)
            self.all = self.bar.add_task("all jobs", total=total, note="")
            self.bar.start()

    def start(self, job: Job) -> None:
        """A worker has taken the job."""
        self.running[job.number] = (job, time.monotonic())
        # As many lines as a terminal has room for.
        if self.bar is not None and job.config is not None and len(self.shown) < max(1, self.console.height - 6):
            label = self.labels[job.number]
            self.shown[job.number] = self.bar.add_task(f"  {label}", total=job.config.steps, note="")
        self.look()

    def pause(self, job: Job) -> float:
        """The job is not worked on any more; the seconds it was."""
        _, began = self.running.pop(job.number, (job, time.monotonic()))
        if self.bar is not None and job.number in self.shown:
            self.bar.remove_task(self.shown.pop(job.number))
        return time.monotonic() - began

    def end(self, job: Job, outcome: Outcome) -> None:
        """The job has its outcome."""
        worked = job.number in self.running
        seconds = self.pause(job)
        self.worked += worked
        if outcome.status not in self.counts:
            return
        self.counts[outcome.status] += 1
        if self.bar is None and outcome.status != "skipped":
            place = f"[{self.done():>{len(str(self.total))}}/{self.total}]"
            reason = f": {outcome.reason}" if outcome.reason else ""
            took = f" in {duration(seconds)}" if worked else ""
            label = self.labels[job.number]
            say(f"{place} {WORDS[outcome.status]}{took}  {label}{reason}{self._left('; ')}")
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
        if self.bar is None:
            return
        now = time.monotonic()
        if force or now - self.looked > SECONDS_BETWEEN_LOOKS:
            self.looked = now
            for number, task in self.shown.items():
                job, began = self.running[number]
                step = last_step(job.folder / "metrics.jsonl") if job.folder else 0
                self.bar.update(task, completed=step, note=f"step {step}, {duration(now - began)}")
        bad = self.counts["failed"] + self.counts["refused"]
        note = f"{self.done()}/{self.total} done, {len(self.running)} running, {bad} failed{self._left(', ')}"
        self.bar.update(self.all, completed=self.done(), note=note)

    def _left(self, before: str) -> str:
        """Time left, when the jobs to come take as long as those of this session did."""
        left = self.total - self.done()
        if not self.worked or not left:
            return ""
        return f"{before}about {duration((time.monotonic() - self.began) / self.worked * left)} left"

    def close(self) -> None:
        if self.bar is not None:
            self.look(force=True)
            self.bar.stop()
            self.bar = None


def last_step(metrics: Path) -> int:
    """The step of the last whole line; 0 where there is none."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().split(b"\n")[:-1]
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, IndexError, KeyError):
        return 0


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
