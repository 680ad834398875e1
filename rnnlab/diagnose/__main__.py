"""`python -m rnnlab.diagnose RUN`: why a run learns, or does not. Imports torch once there is something to measure.

Exit status: 0 the diagnosis is written, whatever it says; 2 a bad argument, or no run there; 1 the run cannot be read
or has no checkpoint yet, or the diagnosis cannot be written; 130 interrupted.
"""

import sys

if __name__ == "__main__":
    from rnnlab.entrance import enter

    enter()

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnlab.arguments import Parser, path, whole
from rnnlab.messages import one_line, shown, shown_path

if TYPE_CHECKING:
    from rnnlab.diagnose.findings import Findings

LISTED = 5
"""Runs named, where a folder holds several."""
EXAMPLES = 20
"""In the diagnostic batch; a probe's figures are means over them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Diagnose a run; returns the exit status.

    Args:
        argv: the arguments; those of the process when None.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _diagnose(arguments)
    except KeyboardInterrupt:
        return _fail(130, "interrupted; nothing of the run was changed.")
    except OSError as error:
        return _fail(1, f"{shown_path(error.filename or arguments.run)}: {error.strerror or error}.")


def _diagnose(arguments: argparse.Namespace) -> int:
    from rnnlab.contract import ConfigError, RunError
    from rnnlab.memory.lack import lacks_room
    from rnnlab.packages import admit, allowed, named
    from rnnlab.report.reading import UnreadableError, find, read
    from rnnlab.runs.safe_files import refuse_links

    if not arguments.run.is_dir():
        return _fail(2, f"{shown(arguments.run)}: no such folder. Give a run folder, runs/NAME/RUN_ID.")
    folders = list(find([arguments.run]))
    if not folders:
        return _fail(
            2, f"{shown(arguments.run)}: no run folder there (one has a manifest.json). Train something first."
        )
    if len(folders) > 1:
        names = ", ".join(map(shown_path, folders[:LISTED])) + (", …" if len(folders) > LISTED else "")
        return _fail(2, f"{shown(arguments.run)}: holds {len(folders)} runs; give one of them: {names}")
    (folder,) = folders
    out = arguments.out or folder / "diagnosis"
    if out.exists() and not out.is_dir():
        return _fail(2, f"--out {shown(out)}: not allowed, it is a file; the diagnosis is a folder.")
    try:
        packages = allowed(*(named(text, "--components") for text in arguments.components))
        admit(packages)
        refuse_links(folder)
        run = read(folder)
        import torch

        from rnnlab.diagnose.examine import examine

        torch.set_num_threads(1)  # the run may be at work on this machine
        anyway = arguments.changed_sources
        findings = examine(run, arguments.seed, arguments.examples, _say, packages, changed_sources=anyway)
    except UnreadableError as error:
        return _fail(1, f"{shown_path(folder)}: {one_line(error)}.")
    except ImportError as error:
        if not lacks_room(error):
            raise
        return _fail(1, lacks_room(error))
    except ConfigError as error:
        return _fail(2, str(error))
    except RunError as error:
        return _fail(1, str(error))
    _write(findings, out)
    return 0


def _write(findings: "Findings", out: Path) -> None:
    from rnnlab.diagnose.figure import picture
    from rnnlab.diagnose.page import page
    from rnnlab.diagnose.verdicts.table import verdicts
    from rnnlab.runs.folder import write_atomically
    from rnnlab.runs.safe_files import visible

    found = verdicts(findings)
    text = visible(page(findings, found))
    drawn = picture(findings, found)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(
        out / "diagnosis.md", f"{text}\n![The way of the gradient back through time](diagnosis.png)\n".encode()
    )
    write_atomically(out / "diagnosis.png", drawn)
    print(text)
    print(f"Figure: {shown_path(out / 'diagnosis.png')}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rnnlab.diagnose",
        description="Say of a run, finished or still at work, where along the sequence its gradient was lost, why, and "
        "which technique acts on it: from its newest checkpoint, which is only read.",
    )
    parser.add_argument("run", type=path, metavar="RUN", help="a run folder, or a folder that holds one run")
    parser.add_argument("--out", type=path, help="folder of the diagnosis (default: RUN/diagnosis)")
    parser.add_argument(
        "--seed", type=whole(0, 2**32 - 1), action="append", default=[], help="only this seed; may be given again"
    )
    parser.add_argument(
        "--examples",
        type=whole(2, 250),
        default=EXAMPLES,
        help=f"held-out examples to measure on (default: {EXAMPLES})",
    )
    parser.add_argument(
        "--components",
        action="append",
        default=[],
        metavar="PACKAGES",
        help="packages of yours that the run's components may come from: my_package,another; may be given again. The "
        "run folder cannot allow any; the variable RNNLAB_COMPONENTS can",
    )
    parser.add_argument(
        "--changed-sources",
        action="store_true",
        help="measure although components or data of yours have changed since the run; the page says so",
    )
    return parser


def _say(text: str) -> None:
    from rnnlab.runs.safe_files import visible

    print(visible(text), file=sys.stderr)


def _fail(status: int, message: str) -> int:
    _say(f"rnnlab.diagnose: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main())
