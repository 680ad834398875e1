"""The CUDA kernels as they are compiled for a device that need not be here: registers, spills and shared memory.

A register that spills lies in slow memory; shared memory decides whether the weights fit on chip, and how many programs
a multiprocessor can run at once. The default tiles (`rnnlab.bptt.fused.launch.tiles`) were chosen by this table.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from rnnlab.bench.timing import small_table
from rnnlab.bptt.fused.form import FORMS
from rnnlab.bptt.fused.launch import SHARED, compiled, ptxas, tiles
from rnnlab.bptt.fused.precision import within

COLUMNS = ("cell", "H", "direction", "capability", "rows", "tile", "warps", "weights", "registers", "spills", "shared")


def measure(
    *, cells: list[str], hidden: list[int], capability: list[int], precision: str, dtype: str
) -> dict[str, Any]:
    """A row per kernel with its default tiles; `registers` per thread, `spills` and `shared` in bytes.

    Args:
        capability: of the devices, as 80 for 8.0.
    """
    unknown = set(capability) - set(SHARED)
    if unknown or importlib.util.find_spec("triton") is None:
        known = ", ".join(map(str, SHARED))
        why = f"--capability: allowed are {known}" if unknown else "Triton is not installed (the extra `triton`)"
        print(f"rnnlab.bench kernels: {why}", file=sys.stderr)
        raise SystemExit(2)
    kind = getattr(torch, dtype)
    rows = [
        _row(cell, H, direction, device, precision, kind)
        for cell in cells
        for H in hidden
        for direction in ("forward", "backward")
        for device in capability
    ]
    return {"rows": rows}


def _row(cell: str, H: int, direction: str, capability: int, precision: str, dtype: torch.dtype) -> dict[str, Any]:
    cut = tiles(FORMS[cell], H, dtype, within(precision, direction), SHARED[capability])
    binary = compiled(FORMS[cell], direction, H=H, dtype=dtype, precision=precision, capability=capability)
    registers, spills = resources(binary.asm["ptx"], capability)
    where = "on chip" if cut.on_chip(H) else "streamed"
    sizes = (cut.rows, f"{cut.columns} x {cut.depth}", cut.warps, where, registers, spills, binary.metadata.shared)
    return dict(zip(COLUMNS, (cell, H, direction, capability, *sizes), strict=True))


def resources(ptx: str, capability: int) -> tuple[int, int]:
    """(registers per thread, bytes spilt) of a kernel, by the assembler that Triton brings."""
    target = re.search(r"^\.target (\S+)", ptx, re.MULTILINE)
    assert target is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = [ptxas(capability), "-v", f"-arch={target[1]}", str(path), "-o", str(path.with_suffix(".cubin"))]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spills = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    assert registers is not None
    assert spills is not None
    return int(registers[1]), int(spills[1])


def show(result: dict[str, Any]) -> list[Table | str]:
    """One table."""
    table = small_table("CUDA kernels as compiled", *COLUMNS)
    for row in result["rows"]:
        table.add_row(*(str(row[name]) for name in COLUMNS))
    return [table]
