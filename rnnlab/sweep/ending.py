"""The last words of a sweep: how many jobs are finished, what failed and why, and the exit status."""

from collections import Counter

from rich.markup import escape
from rich.table import Table

from rnnlab.runs.folder import LOG
from rnnlab.runs.safe_files import visible
from rnnlab.sinks.console import say, show_table
from rnnlab.sweep.job import Job, Outcome, labels
from rnnlab.sweep.work import last_lines

LINES = 5
LOGS = 3
"""Of the first failed jobs, so many, the last lines of output are shown."""


def tell(jobs: list[Job], outcomes: dict[int, Outcome]) -> int:
    """Print the ending; the exit status: 0 all jobs have results, 1 at least one has not."""
    bad = [job for job in jobs if outcomes[job.number].status in ("failed", "refused")]
    if bad:
        show_table(failure_table(jobs, bad, outcomes))
    for job in [job for job in bad if outcomes[job.number].status == "failed" and job.folder][:LOGS]:
        assert job.folder is not None
        lines = last_lines(job.folder, LINES)
        if lines:
            say(f"{job.folder / LOG} ends with:\n" + "\n".join(f"  {line}" for line in lines))
    count = Counter(outcome.status for outcome in outcomes.values())
    names = sorted({job.config.name for job in jobs if job.config})
    where = ", ".join(f"runs/{name}" for name in names)
    say(
        f"{len(jobs)} jobs: {count['finished']} finished, {count['skipped']} finished before, "
        f"{count['failed']} failed, {count['refused']} refused. Results: {where}"
    )
    if bad:
        say("The same command again runs only what failed, from the last checkpoint where there is one.")
    return 1 if bad else 0


def failure_table(jobs: list[Job], bad: list[Job], outcomes: dict[int, Outcome]) -> Table:
    """A row per job without results."""
    label = labels(jobs)
    table = Table(title=f"{len(bad)} of {len(jobs)} jobs have no results", title_justify="left")
    table.add_column("job", justify="right")
    for column in ("choices", "why", "run folder"):
        table.add_column(column, overflow="fold")
    for job in bad:
        outcome = outcomes[job.number]
        why = ("refused: " if outcome.status == "refused" else "") + outcome.reason
        table.add_row(str(job.number), escape(label[job.number]), escape(visible(why)), str(job.folder or "-"))
    return table
