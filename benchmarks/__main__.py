"""`python -m benchmarks NAME [--OPTION VALUE …]`: figures, each beside its target where there is one.

A benchmark is a module whose `measure` yields figures; its options are the arguments of that function.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from benchmarks import cuda, memory, startup, suite, train, unroll
from rnnlab.arguments import Parser, whole

BENCHMARKS = {module.__name__.rpartition(".")[2]: module for module in (unroll, suite, train, startup, memory, cuda)}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a benchmark's figures as they come; with `--json` one JSON object a line."""
    given = vars(parser().parse_args(argv))
    name, as_json = given.pop("name"), given.pop("json")
    for figure in BENCHMARKS[name].measure(**given):
        print(json.dumps(figure._asdict()) if as_json else figure, flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """A command for each benchmark."""
    result = Parser(prog="benchmarks", description=sys.modules["benchmarks"].__doc__)
    commands = result.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in BENCHMARKS.items():
        about = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--json", action="store_true", help="one JSON object a line")
        for option, of in inspect.signature(module.measure).parameters.items():
            command.add_argument(f"--{option}", default=of.default, help=f"{of.default}", **_kind(of.annotation))
    return result


def _kind(annotation: Any) -> dict[str, Any]:
    if get_origin(annotation) is Sequence:
        return {"nargs": "+", **_kind(get_args(annotation)[0])}
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    return {"type": whole(1, 10**9)}


if __name__ == "__main__":
    sys.exit(main())
