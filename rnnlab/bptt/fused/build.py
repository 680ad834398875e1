"""python -m rnnlab.bptt.fused.build: compile the CPU kernel ahead of time and print where it is.

Exit status: 0 it is there; 1 it could not be compiled or kept; 2 a wrong argument.
"""

import sys

if __name__ == "__main__":
    from rnnlab.entrance import enter

    enter()

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from rnnlab.arguments import Parser
from rnnlab.arguments import path as checked_path
from rnnlab.bptt.fused.cache import CacheError
from rnnlab.bptt.fused.compiler import KernelUnavailable
from rnnlab.bptt.fused.folders import cause
from rnnlab.bptt.fused.library import build
from rnnlab.messages import shown

LINES = 20
"""How much of what the compiler wrote is shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Build, and print the library's path; the exit status.

    Args:
        argv: the arguments; those of the process when None.
    """
    arguments = _parser().parse_args(argv)
    try:
        path = build(_tell, march=arguments.march, output=arguments.output)
    except KernelUnavailable as error:
        written = error.output.rstrip().splitlines()[-LINES:]
        print("\n".join([*written, f"rnnlab: {error}."]), file=sys.stderr)
        return 1
    except CacheError as error:
        print(
            f"rnnlab: the kernel cannot be kept in {error}. Name a folder with RNNLAB_CACHE, or a file with --output.",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"rnnlab: {arguments.output} cannot be written: {cause(error)}", file=sys.stderr)
        return 1
    print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rnnlab.bptt.fused.build",
        description="Compile the CPU kernel ahead of time, into the cache or a file, and print its path.",
        epilog="A run takes from the cache what was built with --march native. Name any other library with "
        "RNNLAB_KERNEL=FILE.",
    )
    parser.add_argument(
        "--march", type=_march, default="native", help="processor: native (default), x86-64-v3, armv8-a, …"
    )
    parser.add_argument("--output", type=_output, metavar="FILE", help="the library, instead of one in the cache")
    return parser


def _march(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", text):
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is no name of a processor; try native or x86-64-v3")
    return text


def _output(text: str) -> Path:
    path = checked_path(text).absolute()
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that is not there"
        raise argparse.ArgumentTypeError(f"'{shown(text)}' {what}; name a file in an existing one")
    return path


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
