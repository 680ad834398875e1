"""A report from run folders to files: read, compare, draw, write."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnlab.report.arms import Section, sections, shortened, text
from rnnlab.report.comparison import Comparison, compare
from rnnlab.report.notes import notes, verdict
from rnnlab.report.page import Part, Picture, details, render
from rnnlab.report.reading import Run, UnreadableError, find, read
from rnnlab.report.tables import (
    PAIR_HEADS,
    arms_csv,
    columns,
    first_pairs,
    markdown,
    markdown_table,
    pair_cells,
    pairs_csv,
    said_of_pairs,
    seeds_csv,
)
from rnnlab.runs.folder import now, write_atomically

ILLUSTRATED = 8
"""Sections that figures are drawn for: those with the most seeds come first."""


@dataclass(frozen=True)
class Report:
    """What was made."""

    page: Path
    runs: list[Run]
    unreadable: list[tuple[str, str]]
    parts: list[Part]


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[tuple[str, str]]]:
    """The runs among and below the paths; and the run folders that cannot be read, with the reason."""
    runs: list[Run] = []
    unreadable = []
    for folder in find(paths):
        try:
            runs.append(_rehearsed(read(folder)))
        except UnreadableError as error:
            unreadable.append((str(folder), str(error)))
        except Exception as error:  # none foreseen; one run's fault must not cost all others their report
            unreadable.append((str(folder), f"cannot be compared: {type(error).__name__}: {error}"))
    return runs, unreadable


def _rehearsed(run: Run) -> Run:
    """The run, once it is seen that it can be put into a section and onto the page."""
    sections([run], every_lr=False)
    details([run])
    return run


def make_report(
    runs: list[Run],
    unreadable: list[tuple[str, str]],
    out: Path,
    *,
    every_lr: bool = False,
    seed: int = 0,
    title: str = "Comparison of runs",
) -> Report:
    """Compare the runs and write tables, figures and page.

    Args:
        out: the folder; made where it is missing, files of an earlier report in it are replaced.
        every_lr: every learning rate is an arm of its own.
        seed: of the generator that draws bootstrap samples.
    Raises:
        OSError: a file cannot be written.
    """
    rng = np.random.default_rng(seed)
    found = sorted(sections(runs, every_lr=every_lr), key=lambda section: -section.seeds)
    parts = []
    _clear_figures(out / "figures")
    for number, (section, name) in enumerate(zip(found, titles(found), strict=True), start=1):
        comparison = compare(section, rng)
        parts.append(Part(name, comparison, _pictures(number, comparison, out) if number <= ILLUSTRATED else None))
    _write_tables(parts, out)
    _write(out / "report.md", _markdown(parts, title))
    _write(out / "index.html", render(parts, runs, unreadable, title=title, made=now()))
    return Report(out / "index.html", runs, unreadable, parts)


def titles(found: Sequence[Section]) -> list[str]:
    """A name per section: the task, its length, and what tells it from other sections of the task."""
    names = []
    for section in found:
        others = [other.task for other in found if other.task.get("task") == section.task.get("task")]
        keys = [
            key
            for key in section.task
            if key != "task" and (key == "task.length" or len({text(o.get(key)) for o in others}) > 1)
        ]
        said = ", ".join(f"{key.removeprefix('task.')}={shortened(text(section.task[key]), 60)}" for key in keys)
        names.append(f"{text(section.task.get('task'))}{': ' if said else ''}{said}")
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({k})" for k, name in enumerate(names, start=1)]


def _pictures(number: int, comparison: Comparison, out: Path) -> list[Picture]:
    from rnnlab.plotting import by_default
    from rnnlab.report.figures.all import draw
    from rnnlab.report.figures.style import png

    pictures = []
    with by_default():
        drawn = [(drawing, png(drawing)) for drawing in draw(comparison)]
    for drawing, content in drawn:
        file = f"figures/{number}-{drawing.name}.png"
        _write(out / file, content)
        pictures.append(Picture(drawing.title, drawing.caption, drawing.alt, file, content))
    return pictures


def _clear_figures(folder: Path) -> None:
    """Remove figures of an earlier report, which may have had more sections."""
    if folder.is_dir():
        for name in os.listdir(folder):
            if re.fullmatch(r"\d+-[a-z_]+\.png", name):
                (folder / name).unlink()


def _write_tables(parts: Sequence[Part], out: Path) -> None:
    named = [(part.title, part.comparison) for part in parts]
    for name, content in (("arms", arms_csv(named)), ("pairs", pairs_csv(named)), ("seeds", seeds_csv(named))):
        _write(out / f"{name}.csv", content)


def _markdown(parts: Sequence[Part], title: str) -> str:
    pieces = [f"# {markdown(title)}\n"]
    for part in parts:
        comparison = part.comparison
        heads = columns(comparison)
        pieces += [f"## {markdown(part.title)}\n", f"{markdown(verdict(comparison))}\n"]
        pieces.append(
            markdown_table([h.head for h in heads], [[h.cell(row) for h in heads] for row in comparison.rows])
        )
        pieces.append("".join(f"- {markdown(note)}\n" for note in notes(comparison)))
        pieces += [f"![{markdown(p.alt)}]({p.file})\n\n*{markdown(p.caption)}*\n" for p in part.pictures or ()]
        if comparison.pairs:
            table = markdown_table(PAIR_HEADS, map(pair_cells, first_pairs(comparison)))
            pieces += ["### Pairs\n", f"{markdown(said_of_pairs(comparison))}\n", table]
    return "\n".join(pieces)


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file name or a JSON escape may hold half a surrogate pair, which UTF-8 cannot.
    write_atomically(path, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
