"""`python -m rnnlab.report RUNS…`: compare runs, and write tables, figures and a page. Imports no torch.

Exit status: 0 the report is written; 2 a bad argument, or no runs there; 1 no run can be read, or the report cannot be
written; 130 interrupted.
"""

import sys

if __name__ == "__main__":
    from rnnlab.entrance import enter

    enter()

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnlab.arguments import Parser, line, path, whole
from rnnlab.messages import one_line, shown, shown_path
from rnnlab.runs.safe_files import visible, why_no_folder

if TYPE_CHECKING:
    from rnnlab.report.write import Report

LISTED = 10
"""Folders that could not be read, and remarks on those that could, named on the terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make a report; returns the exit status.

    Args:
        argv: the arguments; those of the process when None.
    """
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            # Of numpy's and matplotlib's, about the values of somebody's run; the page shows those.
            warnings.simplefilter("ignore")
            return _report(arguments)
    except KeyboardInterrupt:
        return _fail(130, "interrupted; files that were written already are whole.")
    except OSError as error:
        return _fail(1, f"{shown_path(error.filename or arguments.out)}: {error.strerror or error}.")


def _report(arguments: argparse.Namespace) -> int:
    missing = [path for path in arguments.runs if not path.is_dir()]
    if missing:
        why = why_no_folder(missing[0]) or "no such folder"
        return _fail(2, f"{shown(missing[0])}: {why}. Give run folders, or folders that hold some, such as runs/.")
    if arguments.out.exists() and not arguments.out.is_dir():
        return _fail(2, f"--out {shown(arguments.out)}: not allowed, it is a file; the report is a folder.")
    linked = next((path for path in (arguments.out, arguments.out / "figures") if path.is_symlink()), None)
    if linked:
        return _fail(2, f"--out {shown(linked)}: not allowed, it is a symbolic link; give the folder that it leads to.")
    from rnnlab.report.write import collect, make_report

    runs, unreadable = collect(arguments.runs)
    _list("Left out", unreadable)
    if not runs:
        places = shown(", ".join(map(str, arguments.runs)))
        if unreadable:
            return _fail(1, f"none of the {len(unreadable)} run folder(s) in {places} can be read.")
        return _fail(2, f"{places}: no run folder there (one has a manifest.json). Train something first.")
    report = make_report(
        runs, unreadable, arguments.out, every_lr=arguments.every_lr, seed=arguments.seed, title=arguments.title
    )
    _list("Remark", [(str(run.path), remark) for run in runs for remark in run.remarks])
    _tell(report)
    return 0


def _list(word: str, said: list[tuple[str, str]]) -> None:
    for folder, reason in said[:LISTED]:
        print(f"{word}: {shown_path(folder)}: {one_line(reason)}", file=sys.stderr)
    if len(said) > LISTED:
        print(f"{word}: {len(said) - LISTED} more; the page names them.", file=sys.stderr)


def _tell(report: "Report") -> None:
    from rnnlab.report.notes import verdict

    for part in report.parts:
        print(f"{one_line(part.title)}: {one_line(verdict(part.comparison))}")
    partial = sum(run.partial for run in report.runs)
    arms = sum(len(part.comparison.rows) for part in report.parts)
    print(f"{len(report.runs)} runs, {partial} of them partial, {arms} arms: {shown_path(report.page)}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="rnnlab.report", description="Compare runs: tables, figures and one page, from run folders.")
    parser.add_argument(
        "runs", type=path, nargs="*", default=[Path("runs")], metavar="RUNS", help="searched for runs (default: runs)"
    )
    parser.add_argument("--out", type=path, default=Path("report"), help="folder of the report (default: report)")
    parser.add_argument("--title", type=line, default="Comparison of runs")
    parser.add_argument(
        "--every-lr",
        action="store_true",
        help="every learning rate is an arm; else each technique is compared at its best one",
    )
    parser.add_argument(
        "--seed", type=whole(0, 2**32 - 1), default=0, help="of the bootstrap's random generator (default: 0)"
    )
    return parser


def _fail(status: int, message: str) -> int:
    print(visible(f"rnnlab.report: {message}"), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
