"""How long the command line takes to answer when it need not train: help, and a configuration error.

Each is a process of its own. Hydra's import is the floor, since every command goes through Hydra.
"""

import subprocess
import sys
from functools import partial
from typing import Any

from rich.table import Table

from rnnlab.bench.timing import interleaved, report, spread_table

TARGET = 1.0
"""Seconds above Hydra's import that an answer may take."""
COMMANDS: dict[str, tuple[list[str], int]] = {
    "import_hydra": (["-c", "import hydra"], 0),
    "help": (["-m", "rnnlab", "--help"], 0),
    "configuration_error": (["-m", "rnnlab", "cell=lstmm"], 2),
}
"""Arguments of the Python interpreter, and the exit status that must come."""


def measure(*, repetitions: int) -> dict[str, Any]:
    """Median seconds per process, and the differences to Hydra's import."""
    candidates = {name: partial(_run, arguments, status) for name, (arguments, status) in COMMANDS.items()}
    result = report(interleaved(candidates, repetitions))
    floor = result["import_hydra_s"]
    return {
        **result,
        "help_above_hydra_s": result["help_s"] - floor,
        "configuration_error_above_hydra_s": result["configuration_error_s"] - floor,
        "target above_hydra_s": TARGET,
    }


def _run(arguments: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode != status:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}, not {status}: {done.stderr}")


def show(result: dict[str, Any]) -> list[Table | str]:
    """The three medians, and the differences."""
    table = spread_table("start of the process to its end", result)
    differences = (
        f"above Hydra's import: help {result['help_above_hydra_s']:.2f} s, "
        f"configuration error {result['configuration_error_above_hydra_s']:.2f} s (target < {TARGET:g} s)"
    )
    return [table, differences]
