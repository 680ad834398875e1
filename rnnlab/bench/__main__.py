"""`python -m rnnlab.bench COMMAND`: speed, in ratios taken in one process. Exit status 2: a bad argument."""

import sys

if __name__ == "__main__":
    from rnnlab.entrance import enter

    enter()

import argparse
import importlib
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from rnnlab.arguments import Parser, positive, whole
from rnnlab.messages import shown

CELLS = ("rnn", "lstm", "gru")
SHAPES = ((120, 128, 128), (520, 128, 128), (1020, 64, 128), (1020, 20, 256), (200, 32, 64))
"""(T, B, H) of the suite."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its table, or with `--json` its result as one JSON object.

    Args:
        argv: the arguments; those of the process when None.
    """
    arguments = vars(_parser().parse_args(argv))
    command, as_json = arguments.pop("command"), arguments.pop("json")
    # Imported late: `startup` measures what an import costs and should not wait for torch itself.
    benchmark: Any = importlib.import_module(f"rnnlab.bench.{command}")
    result = benchmark.measure(**arguments)
    if as_json:
        print(json.dumps({"command": command, **arguments, **result}))
    else:
        console = Console(highlight=False)
        for part in benchmark.show(result):
            console.print(part)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="rnnlab.bench", description="Speed, as ratios taken in one process.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    unroll = _command(commands, "unroll", "forward and backward: fused engine, torch.nn, hooks, JAX and the floor")
    _add_sizes(unroll, length=200)
    unroll.add_argument("--inputs", type=_count, default=2, help="I")
    unroll.add_argument("--replicas", type=_count, default=1, help="R; torch.nn runs once per replica")
    unroll.add_argument("--threads", type=_count, default=1)
    unroll.add_argument("--repetitions", type=_count, default=15, help="rounds, at most")
    unroll.add_argument("--seconds", type=_count, default=600, help="no further round begins after so many (but 3 do)")
    unroll.add_argument("--no-plain", dest="plain", action="store_false", help="without the loop that has no hooks")

    suite = _command(commands, "suite", "unroll over five shapes, three cells and thread counts, beside the targets")
    suite.add_argument("--cells", type=_cells, default=list(CELLS), help="separated by commas")
    suite.add_argument("--threads", type=_counts, default=[1, 2], help="separated by commas")
    suite.add_argument("--inputs", type=_count, default=10, help="I")
    suite.add_argument("--shapes", type=_shapes, default=SHAPES, help="T,B,H:T,B,H:…")
    suite.add_argument("--seconds", type=_count, default=6, help="of rounds per row, at least")

    train = _command(commands, "train", "the training step with adjoint norms, against a plain PyTorch script")
    _add_sizes(train, length=200, batch=50)
    train.add_argument("--threads", type=_count, default=1)
    train.add_argument("--steps", type=_count, default=100, help="timed steps, 20 to warm up not counted")

    overhead = _command(commands, "overhead", "the share of a training step that is not the work itself")
    _add_sizes(overhead, length=200)
    overhead.add_argument("--replicas", type=_count, default=1, help="R, seeds trained together")
    overhead.add_argument("--steps", type=_count, default=200, help="timed steps, 20 to warm up not counted")
    overhead.add_argument("--engine", choices=("auto", "fused", "autograd"), default="auto")
    overhead.add_argument("--no-tensorboard", dest="tensorboard", action="store_false")

    probes = _command(commands, "probes", "what each probe of a bundle costs, and its share of a run at its schedule")
    _add_sizes(probes, length=100, batch=50)
    probes.add_argument("--bundle", choices=("cheap", "full"), default="cheap")
    probes.add_argument("--steps", type=_count, default=5000, help="training steps of the run")
    probes.add_argument("--repetitions", type=_count, default=7, help="rounds")

    scaling = _command(commands, "scaling", "time and memory of a training step against the sequence length")
    _add_sizes(scaling, length=None, cell="rnn")
    scaling.add_argument("--lengths", type=_lengths, default=[250, 500, 1000, 2000], help="T, separated by commas")
    scaling.add_argument("--repetitions", type=_count, default=7)

    cuda = _command(commands, "cuda", "the fused engine on a CUDA device: right, and how fast; about 8 minutes at most")
    cuda.add_argument("--cells", type=_cells, default=list(CELLS), help="separated by commas")
    cuda.add_argument("--seconds", type=_count, default=420, help="no further part begins after so many")
    cuda.add_argument("--teraflops", type=positive, default=0.0, help="a second, of products; measured when not given")
    cuda.add_argument("--gigabytes", type=positive, default=0.0, help="a second, of memory; measured when not given")
    cuda.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)

    report = _command(commands, "report", "seconds and bytes of a report over many synthetic runs")
    report.add_argument("--runs", type=_count, default=1000)
    report.add_argument("--seeds", type=_count, default=2, help="per run")
    report.add_argument("--search", action="store_true", help="every run has a configuration of its own: as many arms")

    dashboard = _command(commands, "dashboard", "seconds until TensorBoard lists many runs, and what HParams loads")
    dashboard.add_argument("--runs", type=_count, default=50)
    dashboard.add_argument("--steps", type=_count, default=2000, help="training steps of each run")

    kernels = _command(commands, "kernels", "what ptxas says of the CUDA kernels; needs Triton, and no device")
    kernels.add_argument("--cells", type=_cells, default=list(CELLS), help="separated by commas")
    kernels.add_argument("--hidden", type=_counts, default=[64, 128, 256], help="H, separated by commas")
    kernels.add_argument("--capability", type=_counts, default=[80, 90], help="of the devices: 80, 86, 90, …")
    kernels.add_argument("--precision", choices=("ieee", "tf32", "bf16", "fp16"), default="ieee")
    kernels.add_argument("--dtype", choices=("float32", "float64"), default="float32")

    sweep = _command(commands, "sweep", "jobs per second and core of a sweep over one-step runs")
    sweep.add_argument("--jobs", type=_several, default=100, help="of the longer of two sweeps, at least 10")
    sweep.add_argument("--no-tensorboard", dest="tensorboard", action="store_false")

    memory = _command(commands, "memory", "what runs are said to need in memory, beside what they take")
    memory.add_argument(
        "--runs", type=_runs, default=[], help="names from rnnlab/bench/memory.py, separated by semicolons"
    )

    startup = _command(commands, "startup", "seconds until --help and until a configuration error")
    startup.add_argument("--repetitions", type=_count, default=7)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_sizes(parser: argparse.ArgumentParser, *, length: int | None, cell: str = "lstm", batch: int = 32) -> None:
    parser.add_argument("--cell", choices=CELLS, default=cell)
    if length is not None:
        parser.add_argument("--length", type=_count, default=length, help="T")
    parser.add_argument("--batch", type=_count, default=batch, help="B")
    parser.add_argument("--hidden", type=_count, default=128, help="H")


_count, _several = whole(1, 10**9), whole(10, 10**9)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _cells(text: str) -> list[str]:
    cells = text.split(",")
    if not set(cells) <= set(CELLS):
        raise argparse.ArgumentTypeError(f"'{shown(text)}': allowed are {', '.join(CELLS)}")
    return cells


def _runs(text: str) -> list[str]:
    from rnnlab.bench.memory import RUNS

    runs = text.split(";")
    if not set(runs) <= set(RUNS):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed are {'; '.join(RUNS)}")
    return runs


def _shapes(text: str) -> list[tuple[int, ...]]:
    shapes = [tuple(_counts(part)) for part in text.split(":")]
    if any(len(shape) != 3 for shape in shapes):
        raise argparse.ArgumentTypeError(f"'{shown(text)}': a shape is T,B,H; shapes are separated by colons")
    return shapes


def _lengths(text: str) -> list[int]:
    lengths = _counts(text)
    if len(set(lengths)) < 2:
        raise argparse.ArgumentTypeError(f"'{shown(text)}': an exponent needs two different lengths at least")
    return lengths


if __name__ == "__main__":
    sys.exit(main())
