"""How long the command line takes to answer when it need not train: help, and a configuration error.

Each is a process of its own. Hydra's import is the floor, since every command goes through Hydra.
"""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from statistics import median

from benchmarks.figures import Figure, interleaved, milliseconds, ratio

COMMANDS = {
    "import hydra": (["-c", "import hydra"], 0),
    "help": (["-m", "rnnlab", "--help"], 0),
    "configuration error": (["-m", "rnnlab", "cell=lstmm"], 2),
}
"""Arguments of the Python interpreter, and the exit status that must come."""
FLOOR = "import hydra"


def measure(*, repetitions: int = 7) -> Iterator[Figure]:
    """Medians of each process, and what an answer takes above Hydra's import."""
    taken = interleaved({name: partial(_run, *command) for name, command in COMMANDS.items()}, repetitions)
    yield from (milliseconds(name, seconds) for name, seconds in taken.items())
    floor = taken.pop(FLOOR)
    for name, seconds in taken.items():
        yield ratio(f"{name} / {FLOOR}", (seconds, floor))
        yield Figure(f"{name}, above {FLOOR}", median(seconds) - median(floor), "s", target=1.0)


def _run(arguments: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode != status:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}, not {status}: {done.stderr}")
