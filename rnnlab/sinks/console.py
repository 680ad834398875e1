"""The terminal: a progress bar, or plain lines when the output is not a terminal; at the end a table."""

import sys
import time
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from rnnlab.runs.adjoints import AdjointRecord
from rnnlab.sinks.sink import Sink

SECONDS_BETWEEN_LINES = 5.0
WIDE = 115
"""Columns from which the progress bar spells everything out; below, loss/baseline and solved/seeds."""


class ConsoleSink(Sink):
    """The step, its loss against the baseline, solved and diverged replicas, steps per second, time left.

    Args:
        steps: updates at most.
        start: the step that the session starts from.
        baseline: the memoryless loss.
    """

    def __init__(self, *, steps: int, start: int, baseline: float, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.steps, self.start, self.baseline = steps, start, baseline
        self.began = self.said = self.drawn = time.monotonic()
        self.split, self.loss = "eval", float("nan")
        self.bar: Progress | None = None
        self.narrow = self.console.width < WIDE
        if self.console.is_terminal:
            whole = Column(no_wrap=True, overflow="ignore")
            self.bar = Progress(
                TextColumn("{task.completed}/{task.total}", table_column=whole),
                BarColumn(bar_width=6 if self.narrow else 24),
                TextColumn("{task.description}", table_column=whole),
                TimeRemainingColumn(),
                console=self.console,
                refresh_per_second=4,
            )
            self.task = self.bar.add_task("", total=steps, completed=start)
            self.bar.start()

    def rows(self, rows: list[dict[str, Any]]) -> None:
        losses = sorted(row["loss"] for row in rows)
        if losses:
            self.split, self.loss = rows[0]["split"], losses[len(losses) // 2]

    def progress(self, step: int, results: dict[int, Any]) -> None:
        now = time.monotonic()
        if self.bar is not None:
            if now - self.drawn > 0.1:
                self.drawn = now
                self.bar.update(self.task, completed=step, description=self._status(step, results, now))
        elif now - self.said > SECONDS_BETWEEN_LINES and step > self.start:
            self.said = now
            rate = (step - self.start) / (now - self.began)
            left = (self.steps - step) / rate
            say(f"step {step}/{self.steps}  {self._status(step, results, now)}  at most {left:.0f} s left")

    def _status(self, step: int, results: dict[int, Any], now: float) -> str:
        solved = sum(r.steps_to_solve is not None for r in results.values())
        diverged = sum(r.status == "diverged" for r in results.values())
        rate = (step - self.start) / max(now - self.began, 1e-9)
        if self.narrow and self.bar is not None:
            return (
                f"loss {self.loss:.3g}/{self.baseline:.3g} {solved}/{len(results)} solved {diverged} div {rate:.3g}/s"
            )
        return (
            f"{self.split} loss {self.loss:.4g} (baseline {self.baseline:.4g})  "
            f"{solved}/{len(results)} solved, {diverged} diverged  {rate:.1f} steps/s"
        )

    def close(self, results: dict[int, Any], record: AdjointRecord) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=max((r.steps for r in results.values()), default=0))
            self.bar.stop()
            self.bar = None


def result_table(summary: dict[str, Any]) -> Table:
    """One row per seed, from summary.json's content."""
    metric = summary["metric"]
    table = Table(
        title=f"{summary['run_id']}: solved when {summary['solved_when']}; "
        f"baseline {summary['baseline']:.4g} {summary['unit']}",
        title_justify="left",
    )
    columns = ("seed", "status", "steps", "steps to solve", "final eval loss", "best loss", metric.replace("_", " "))
    for column in columns:
        table.add_column(column, justify="left" if column == "status" else "right")
    milestones = summary["milestones"]
    for milestone in milestones:
        table.add_column(f"steps to < {milestone}", justify="right")
    for row in summary["seeds"]:
        cells = [
            str(row["seed"]),
            row["status"],
            str(row["steps"]),
            _number(row["steps_to_solve"]),
            _number(row["final_eval_loss"]),
            _number(row["best_eval_loss"]),
            _number(row[f"final_eval_{metric}"]),
        ]
        table.add_row(*cells, *(_number(row["milestones"].get(m)) for m in milestones))
    return table


def show_table(table: Table) -> None:
    """On a terminal as wide as it is, in a file with lines long enough for the table."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=140)
    with console.capture() as text:
        console.print(table)
    say(text.get().rstrip())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def say(text: str, *, error: bool = False) -> None:
    """One plain line. Where it cannot be written, the run goes on in silence."""
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with suppress(OSError, ValueError):  # nobody reads the pipe any more; a notebook has closed the stream
        print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
