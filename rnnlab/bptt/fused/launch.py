"""Launching the Triton kernels: loaded, cut into tiles, and compiled; on CPU tensors they are interpreted.

R replica, B batch, H hidden.
"""

import functools
import importlib
import importlib.util
import os
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

SOURCE = Path(__file__).parent / "kernels" / "time_loops.py"


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


def tiles(form: Form, H: int, dtype: torch.dtype) -> Tiles:
    """The default; it must not depend on R, or a replica's bits would.

    Guessed from registers and shared memory, not measured: `python -m rnnlab.bench cuda` tries others.
    """
    blocks = _power(form.rows)
    widest = (128 if blocks == 1 else 64) // (dtype.itemsize // 4) ** 2
    columns = max(16, min(_power(H), widest))
    return Tiles(rows=16, columns=columns, depth=min(32, max(16, _power(H))), warps=4 if blocks == 1 else 8, stages=2)


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


def _precision() -> str:
    """IEEE, unless torch's own switch allows tf32: `torch.backends.cuda.matmul.allow_tf32`."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def launch(name: str, form: Form, given: dict[str, Any], tensors: list[Tensor], sizes: list[int], **flags: Any) -> None:
    x, (R, B, H) = given["input"], given["h"].shape
    cut = _chosen[-1] if _chosen else tiles(form, H, x.dtype)
    kernel = getattr(kernels(interpreted=not x.is_cuda), f"{form.name}_{name}")
    grid = (R, -(-B // cut.rows))
    arguments: dict[str, Any] = {
        "H": H,
        "ACTIVATION": given["activation"],
        "SLOPE": float(given["slope"]),
        "HAS_MASK": given["mask"] is not None,
        "PRECISION": _precision(),
        "ROWS": cut.rows,
        "COLUMNS": cut.columns,
        "DEPTH": cut.depth,
        **flags,
    }
    if x.is_cuda:
        arguments |= {"num_warps": cut.warps, "num_stages": cut.stages}
        with torch.cuda.device(x.device):  # Triton launches on the current device
            kernel[grid](*tensors, *sizes, **arguments)
    else:
        kernel[grid](*tensors, *sizes, **arguments)


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
    capability: int = 80,
    ones: tuple[str, ...] = (),
) -> Any:
    """A kernel compiled for a device that need not be here: what Triton says of it (`asm`, `metadata`).

    Args:
        direction: `forward` or `backward`.
        capability: of the device, as 80 for 8.0.
        ones: sizes that are 1, of T, R, B, K and every: Triton compiles a kernel of its own for them.
    """
    triton, cut = importlib.import_module("triton"), _chosen[-1] if _chosen else tiles(form, H, dtype)
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", capability, 32)
    function = getattr(kernels(interpreted=False), f"{form.name}_{direction}")
    constants: dict[str, Any] = {"H": H, "ACTIVATION": activation, "SLOPE": 0.0, "RULE": rule, "THRESHOLD": 1.0}
    constants |= dict.fromkeys(("KEEP", "HAS_OUTPUT", "RECORD"), True)
    constants |= {"HAS_MASK": masked, "PRECISION": precision, **dict.fromkeys(ones, 1)}
    constants |= {"ROWS": cut.rows, "COLUMNS": cut.columns, "DEPTH": cut.depth}
    kinds = {"mask": "*u8", "norms": "*fp64", **dict.fromkeys(("T", "R", "B", "K", "every"), "i32")}
    kinds |= dict.fromkeys(constants, "constexpr")
    names = function.arg_names
    signature = {n: kinds.get(n, "*fp32" if dtype == torch.float32 else "*fp64") for n in names}
    aligned = {(at,): [["tt.divisibility", 16]] for at, n in enumerate(names) if signature[n].startswith("*")}
    source = triton.compiler.ASTSource(
        fn=function, signature=signature, constexprs={n: v for n, v in constants.items() if n in names}, attrs=aligned
    )
    return triton.compile(source, target=target, options={"num_warps": cut.warps, "num_stages": cut.stages})
