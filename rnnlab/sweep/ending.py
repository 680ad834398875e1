"""The last words of a sweep: how each job ended, why some have no results, and the exit status."""

from collections import Counter

from rich.markup import escape
from rich.table import Table

from rnnlab.contract import ConfigError
from rnnlab.messages import one_line
from rnnlab.runs.folder import LOG
from rnnlab.runs.safe_files import visible
from rnnlab.sinks.console import say, show_table
from rnnlab.sweep.job import ENDINGS, RESULTS, Job, JobOutcome, labels
from rnnlab.sweep.work import last_lines

LINES = 5
LOGS = 3
"""Of the first failed jobs, so many, the last lines of output are shown."""
NOT_BEGUN = 20
"""So many jobs that were not begun have rows of their own."""


def tell(jobs: list[Job], outcomes: dict[int, JobOutcome]) -> int:
    """Print the ending; the exit status: 0 all jobs have results, 1 at least one has not.

    Raises:
        ConfigError: all were refused.
    """
    if jobs and all(outcomes[job.number].status == "refused" for job in jobs):
        first, *others = dict.fromkeys(outcomes[job.number].reason for job in jobs)
        more = f" (The first of {1 + len(others)} reasons; all {len(jobs)} jobs are refused.)" if others else ""
        raise ConfigError(f"{one_line(first)}{more}")
    bad = [job for job in jobs if outcomes[job.number].status not in RESULTS]
    if bad:
        show_table(bad_table(jobs, bad, outcomes))
    for job in [job for job in bad if outcomes[job.number].status == "failed" and job.folder][:LOGS]:
        assert job.folder is not None
        lines = last_lines(job.folder, LINES)
        if lines:
            say(f"{job.folder / LOG} ends with:\n" + "\n".join(f"  {line}" for line in lines))
    count = Counter(outcomes[job.number].status for job in jobs)
    names = sorted({job.config.name for job in jobs if job.config})
    where = f" Results: {', '.join(f'runs/{name}' for name in names)}" if names else ""
    say(f"{len(jobs)} jobs: {', '.join(f'{count[status]} {word}' for status, word in ENDINGS.items())}.{where}")
    if bad:
        say("The same command again runs only what has no results, from the last checkpoint where there is one.")
    return 1 if bad else 0


def bad_table(jobs: list[Job], bad: list[Job], outcomes: dict[int, JobOutcome]) -> Table:
    """A row per job without results; the last of many that were not begun share one."""
    label = labels(jobs)
    table = Table(title=f"{len(bad)} of {len(jobs)} jobs have no results", title_justify="left")
    table.add_column("job", justify="right")
    for column in ("choices", "why", "run folder"):
        table.add_column(column, overflow="fold")
    untold = [job for job in bad if outcomes[job.number].status == "waiting"][NOT_BEGUN:]
    for job in bad:
        if job not in untold:
            why = visible(_why(outcomes[job.number]))
            table.add_row(str(job.number), escape(label[job.number]), escape(why), str(job.folder or "-"))
    if untold:
        why = visible(_why(outcomes[untold[0].number]))
        table.add_row("…", f"and {len(untold)} more", escape(why), "")
    return table


def _why(outcome: JobOutcome) -> str:
    """`failed` goes without saying where there is a reason."""
    words = [] if outcome.status == "failed" and outcome.reason else [ENDINGS[outcome.status]]
    return ": ".join([*words, *([outcome.reason] if outcome.reason else [])])
