"""Time and memory of a training step against the sequence length T.

Time is that of the bare work (unroll, loss, backward, optimiser) at one thread. Memory is what autograd
keeps for backward: every storage that a saved tensor points to, counted once, parameters left out since
they do not grow.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.table import Table

from rnnlab.bench.timing import exponent, interleaved, small_table
from rnnlab.bench.work import BareStep, torch_threads, training_configuration
from rnnlab.build import build
from rnnlab.memory.kept import kept_bytes


def measure(*, cell: str, lengths: Sequence[int], batch: int, hidden: int, repetitions: int) -> dict[str, Any]:
    """Per length `step_s` (median) and `kept_bytes`; `time_exponent` and `memory_exponent` of a fit ~ T^a."""
    lengths = sorted(set(lengths))
    with torch_threads(1):
        steps = {length: _bare_step(cell, length, batch, hidden) for length in lengths}
        spreads = interleaved({str(length): partial(_discard, steps[length]) for length in lengths}, repetitions)
    seconds = [spreads[str(length)].median for length in lengths]
    kept = [kept_bytes(step.loss, step.stacked) for step in steps.values()]
    return {
        "lengths": lengths,
        "step_s": seconds,
        "spread": [[spreads[str(length)].lowest, spreads[str(length)].highest] for length in lengths],
        "kept_bytes": kept,
        "time_exponent": exponent(lengths, seconds),
        "memory_exponent": exponent(lengths, kept),
    }


def _bare_step(cell: str, length: int, batch: int, hidden: int) -> BareStep:
    config = training_configuration(cell=cell, length=length, batch=batch, hidden=hidden, overrides=[])
    return BareStep(build(config), [0])


def _discard(step: BareStep) -> None:
    step.run()


def show(result: dict[str, Any]) -> list[Table | str]:
    """One row per length, and the exponents."""
    table = small_table("training step", "T", "median ms", "lowest", "highest", "kept MB")
    rows = zip(result["lengths"], result["step_s"], result["spread"], result["kept_bytes"], strict=True)
    for length, seconds, spread, kept in rows:
        table.add_row(str(length), *(f"{1e3 * s:.1f}" for s in (seconds, *spread)), f"{kept / 1e6:.1f}")
    exponents = f"time ~ T^{result['time_exponent']:.2f}, memory ~ T^{result['memory_exponent']:.2f} (linear is 1)"
    return [table, exponents]
