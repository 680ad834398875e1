"""Launching the Triton kernels: loaded, cut into tiles, and compiled; on CPU tensors they are interpreted.

R replica, B batch, H hidden.
"""

import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from rnnlab.bptt.fused.form import Form
from rnnlab.bptt.fused.precision import packed_size, within

SOURCE = Path(__file__).parent / "kernels" / "time_loops.py"
OLDEST = (3, 7)
"""Triton's version that the kernels are written for."""


@dataclass(frozen=True)
class Tiles:
    """How a program cuts its work; powers of two.

    rows: examples per program; columns: hidden units at a time; depth: terms of a sum at a time.
    warps, stages: of the compiled kernel: threads / 32, and how many chunks are on their way from memory.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    def on_chip(self, H: int) -> bool:
        """Whether state and weights stay on chip: where columns and depth hold all hidden units."""
        return self.columns == self.depth >= H

    def constants(self, H: int) -> dict[str, Any]:
        """What the kernels are told."""
        return {"ROWS": self.rows, "COLUMNS": self.columns, "DEPTH": self.depth, "ON_CHIP": self.on_chip(H)}


SHARED = {75: 65_536, 80: 166_912, 86: 101_376, 87: 166_912, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory that a program can have, by compute capability."""


def tiles(form: Form, H: int, dtype: torch.dtype, precision: str, shared: int) -> Tiles:
    """The default; it must depend neither on R nor on what is kept, or a replica's bits would.

    Chosen by what ptxas says of registers, spills and shared memory (docs/performance.md), not yet by a device's clock:
    `python -m benchmarks cuda` tries others. Tensor cores take 16 rows at least. Without them few rows are enough to
    keep a multiprocessor busy, and more programs take part.

    Args:
        precision: of the products, in either direction.
        shared: bytes of shared memory that a program can have.
    """
    full, exact = max(16, _power(H)), precision == "ieee"
    rows, size = 4 if exact else 16, packed_size(precision, dtype)
    needed = (form.rows * full + rows * (form.rows + 1)) * full * size  # the weights, and operands of `rows` rows
    if needed <= shared:
        return Tiles(rows, full, full, warps=16 if exact and full > 64 else 8, stages=1)
    return Tiles(8 if exact else 16, min(full, 256 // dtype.itemsize), 32, warps=8, stages=2)


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()


_chosen: list[Tiles] = []


@contextmanager
def using(chosen: Tiles) -> Iterator[None]:
    """Other tiles within this block: for measurements, and for tests of many tiles at small sizes."""
    _chosen.append(chosen)
    try:
        yield
    finally:
        _chosen.pop()


def why_not() -> str | None:
    """Why there are no kernels for a CUDA device, as a clause; None where there are."""
    if importlib.util.find_spec("triton") is None:
        return "on cuda it needs Triton, which is not installed (PyTorch's CUDA builds bring it)"
    found = importlib.import_module("triton").__version__
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < OLDEST:
        return f"on cuda it needs Triton {OLDEST[0]}.{OLDEST[1]} or newer, not {found}"
    return None


@functools.cache
def kernels(*, interpreted: bool) -> ModuleType:
    """The kernels, compiled or interpreted. Triton decides when a function is decorated, so each has its own module."""
    importlib.import_module("triton")  # before the variable is set: Triton's own functions stay as they are
    name = f"rnnlab_triton_{'interpreted' if interpreted else 'compiled'}"
    spec = importlib.util.spec_from_file_location(name, SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = str(int(interpreted))
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before
    return module


def shared_memory(device: torch.device) -> int:
    """Bytes that a program can have."""
    if device.type == "cpu":  # interpreted: as on a device of capability 8.0
        return SHARED[80]
    properties = torch.cuda.get_device_properties(device)
    return getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)


def launch(
    direction: str, form: Form, given: dict[str, Any], tensors: list[Tensor], sizes: dict[str, int], **flags: Any
) -> None:
    """Run a kernel on the device of the input.

    Args:
        tensors, sizes: in the kernel's order; T, R and B are added to the sizes.
        flags: the constants beside those of every kernel.
    """
    x, (R, B, H), precision = given["input"], given["h"].shape, within(given["precision"], direction)
    cut = _chosen[-1] if _chosen else tiles(form, H, x.dtype, precision, shared_memory(x.device))
    kernel = getattr(kernels(interpreted=not x.is_cuda), f"{form.name}_{direction}")
    arguments: dict[str, Any] = {"T": given["input"].shape[0], "R": R, "B": B, **sizes}
    arguments |= {"H": H, "ACTIVATION": given["activation"], "SLOPE": float(given["slope"])}
    arguments |= {"HAS_MASK": given["mask"] is not None, "PRECISION": precision}
    arguments |= {**cut.constants(H), **flags}
    grid = (R, -(-B // cut.rows))
    if x.is_cuda:
        arguments |= {"num_warps": cut.warps, "num_stages": cut.stages}
        with torch.cuda.device(x.device):  # Triton launches on the current device
            kernel[grid](*tensors, **arguments)
    else:
        kernel[grid](*tensors, **arguments)


def compiled(
    form: Form,
    direction: str,
    *,
    H: int,
    dtype: torch.dtype,
    activation: str = "tanh",
    rule: str = "none",
    masked: bool = False,
    precision: str = "ieee",
    keep: bool = True,
    capability: int = 80,
) -> Any:
    """A kernel compiled for a device that need not be here: what Triton says of it (`asm`, `metadata`).

    Args:
        direction: `forward` or `backward`.
        capability: of the device, as 80 for 8.0.
    """
    triton, cut = importlib.import_module("triton"), _chosen[-1] if _chosen else None
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", capability, 32)
    function = getattr(kernels(interpreted=False), f"{form.name}_{direction}")
    precision = within(precision, direction)
    cut = cut or tiles(form, H, dtype, precision, SHARED[capability])
    constants: dict[str, Any] = {"H": H, "ACTIVATION": activation, "SLOPE": 0.0, "RULE": rule, "THRESHOLD": 1.0}
    constants |= {"HAS_MASK": masked, "HAS_OUTPUT": True, "RECORD": True, "KEEP": keep, "PRECISION": precision}
    constants |= cut.constants(H)
    number = "*fp32" if dtype == torch.float32 else "*fp64"
    weight = {"bf16": "*bf16", "fp16": "*fp16"}.get(precision, number)
    kinds = {"norms": "*fp64", "weight": weight, "transposed": weight}
    kinds |= dict.fromkeys(("T", "R", "B", "K", "every", "first", "steps", "blocks", "slots"), "i32")
    kinds |= dict.fromkeys(constants, "constexpr")
    names = function.arg_names
    signature = {n: kinds.get(n, number) for n in names}
    aligned = {(at,): [["tt.divisibility", 16]] for at, n in enumerate(names) if signature[n].startswith("*")}
    source = triton.compiler.ASTSource(
        fn=function, signature=signature, constexprs={n: v for n, v in constants.items() if n in names}, attrs=aligned
    )
    return triton.compile(source, target=target, options={"num_warps": cut.warps, "num_stages": cut.stages})
