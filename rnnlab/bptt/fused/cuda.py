"""The operators' halves for a CUDA device, over the Triton kernels; on CPU tensors the same kernels are interpreted.

A kernel launch runs a cell's time loop, one program per replica and tile of the batch. What has no order in time is
left to torch: the input's product before forward, the gradients of weights, biases and input after backward. They are
taken one replica at a time, because a library may choose another kernel for another number of replicas. So a replica's
bits do not depend on R; no sum has an order that varies.

T time, R replica, B batch, I input, H hidden, G gate rows, K outputs that are returned, S state components.
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
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

SOURCE = Path(__file__).parent / "kernels" / "time_loops.py"


@runtime_checkable
class Form(Protocol):
    """What is read of `operators.Form`."""

    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def activation_biases(self) -> tuple[str, ...]: ...
    @property
    def states(self) -> tuple[str, ...]: ...
    @property
    def tensors(self) -> tuple[str, ...]: ...
    @property
    def traces(self) -> tuple[str, ...]: ...


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


def _launch(
    name: str, form: Form, given: dict[str, Any], tensors: list[Tensor], sizes: list[int], **flags: Any
) -> None:
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


def shapes(form: Form, given: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The shapes of what forward returns. When torch traces the operator, sizes are symbols."""
    T, R, B, _ = given["input"].shape
    H, K, kept = given["h"].shape[-1], given["last"], given["keep"] == 1
    all_shapes: dict[str, tuple[Any, ...]] = {"output": (R, K, B, H)}
    all_shapes |= {f"last_{name}": (R, B, H) for name in form.states}
    all_shapes["trace_h"] = (R, T + 1 - K if kept else 0, B, H)
    all_shapes["trace_c"] = (R, T + 1 if kept else 0, B, H)
    all_shapes["trace_gates"] = (R, T if kept else 0, B, 4 * H)
    return {name: all_shapes[name] for name in ("output", *(f"last_{s}" for s in form.states), *form.traces)}


def check(form: Form, given: dict[str, Any]) -> None:
    """The kernels read memory by these shapes, so they must be right.

    Raises:
        ValueError: what was given, and what it must be.
    """
    (T, R, B, I), H, x = given["input"].shape, given["h"].shape[-1], given["input"]
    wanted: dict[str, tuple[int, ...]] = {"input": (T, R, B, I), "mask": (T, R, B), "norm": (len(form.states), T, R, B)}
    wanted |= {"weight_input": (R, I, form.rows * H), "weight_recurrent": (R, H, form.rows * H)}
    wanted |= {"bias": (R, 1, form.rows * H), **dict.fromkeys(form.states, (R, B, H))}
    for name in (*form.tensors, "mask", "norm"):
        tensor, shape = given[name], wanted.get(name, (R, 1, H))
        dtype = {"mask": torch.bool, "norm": torch.float64}.get(name, x.dtype)
        if tensor is not None and (tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device != x.device):
            raise ValueError(
                f"rnnlab::{form.name}: {name} is {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}; "
                f"it must be {shape}, {dtype}, on {x.device}"
            )
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rnnlab::{form.name}: input is {x.dtype}; it must be torch.float32 or torch.float64")
    if min(T, R, B, I, H) < 1 or not 1 <= given["last"] <= T:
        raise ValueError(
            f"rnnlab::{form.name}: T, R, B, I, H = {(T, R, B, I, H)}, last={given['last']}; "
            "sizes must be 1 or more, last 1 to T"
        )
    if given["keep"] not in (0, 1):
        raise ValueError(
            f"rnnlab::{form.name}: keep={given['keep']}; on a CUDA device it must be 0 or 1: "
            "states are not computed again there"
        )


# --- Forward ----------------------------------------------------------------------------------------------------------


def forward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """Outputs, final states, and what backward needs: see `operators.Form`."""
    check(form, given)
    given = {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in given.items()}
    x = given["input"]
    T, R, B, _ = x.shape
    H, K, kept = given["h"].shape[-1], given["last"], given["keep"] == 1
    traces = {name: x.new_empty(R, T + 1, B, H) for name in form.states}
    for name, trace in traces.items():
        trace[:, 0] = given[name]
    projected = _projected(form, given)
    gates = x.new_empty(R, T, B, 4 * H) if kept and form.name != "rnn" else x.new_empty(R, 0, B, 4 * H)
    biases = [given[name] if given[name] is not None else x for name in form.activation_biases]
    mask = x if given["mask"] is None else given["mask"].view(torch.uint8)
    before = [projected, given["weight_recurrent"]]
    flags = {} if form.name == "rnn" else {"KEEP": kept}
    if form.name == "rnn":
        tensors = [*before, *biases, mask, traces["h"]]
    elif form.name == "lstm":
        tensors = [*before, *biases, mask, traces["h"], traces["c"], gates]
    else:
        tensors = [*before, given["bias_candidate_recurrent"], *biases, mask, traces["h"], gates]
    _launch("forward", form, given, tensors, [T, R, B], **flags)
    made = {f"last_{name}": trace[:, T].clone() for name, trace in traces.items()}
    made["output"] = traces["h"][:, T + 1 - K :] if kept else traces["h"][:, T + 1 - K :].contiguous()
    made["trace_h"] = traces["h"][:, : T + 1 - K] if kept else x.new_empty(R, 0, B, H)
    if form.name == "lstm":
        made["trace_c"] = traces["c"] if kept else x.new_empty(R, 0, B, H)
    made["trace_gates"] = gates
    return tuple(made[name] for name in shapes(form, given))


def fake_forward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """Tensors without contents, with the shapes and strides of `forward`'s."""
    x, sizes = given["input"], shapes(form, given)
    made = {name: x.new_empty(shape) for name, shape in sizes.items()}
    if given["keep"] == 1:
        T, R, B, _ = x.shape
        states = x.new_empty(R, T + 1, B, given["h"].shape[-1])
        early = T + 1 - given["last"]
        made["output"], made["trace_h"] = states[:, early:], states[:, :early]
    return tuple(made.values())


def _projected(form: Form, given: dict[str, Any]) -> Tensor:
    """x U + b, (R, T, B, G)."""
    x, weight, bias = given["input"], given["weight_input"], given["bias"]
    T, R, B, I = x.shape
    result = x.new_empty(R, T, B, weight.shape[-1])
    for r in range(R):
        torch.addmm(bias[r], x[:, r].reshape(T * B, I), weight[r], out=result[r].view(T * B, -1))
    return result


# --- Backward ---------------------------------------------------------------------------------------------------------


def gradient_shapes(form: Form, given: dict[str, Any]) -> dict[str, torch.Size]:
    """Per differentiable input; (0,) where no gradient is wanted."""
    empty = torch.Size((0,))
    wanted = {"input": given["input_gradient"], **dict.fromkeys(form.states, given["state_gradient"])}
    return {
        name: given[name].shape if wanted.get(name, True) and given[name] is not None else empty
        for name in form.tensors
    }


def backward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """The gradient of each of `form.tensors`; fills `norm`."""
    kept = ("output", "norm", *form.traces)
    given = {k: v.contiguous() if isinstance(v, Tensor) and k not in kept else v for k, v in given.items()}
    x = given["input"]
    T, R, B, _ = x.shape
    H, K, lstm = given["h"].shape[-1], given["last"], form.name == "lstm"
    states = _states(given)
    carried = x.new_zeros(R, B, H) if given["d_h"] is None else given["d_h"].clone()
    direct = torch.empty_like(carried)
    gradients = x.new_empty(R, T, B, H if form.name == "rnn" else 4 * H)
    transposed = given["weight_recurrent"].transpose(1, 2).contiguous()
    mask = x if given["mask"] is None else given["mask"].view(torch.uint8)
    d_output = x if given["d_output"] is None else given["d_output"]
    norm = x if given["norm"] is None else given["norm"]
    flags = {
        "RULE": given["rule"],
        "THRESHOLD": float(given["threshold"]),
        "HAS_OUTPUT": given["d_output"] is not None,
        "RECORD": given["norm"] is not None,
    }
    shared = [mask, d_output, carried, direct]
    carried_c = inner = None
    if form.name == "rnn":
        tensors = [states, transposed, *shared, gradients, norm]
    elif lstm:
        carried_c = x.new_zeros(2, R, B, H)
        if given["d_c"] is not None:
            carried_c[0] = given["d_c"]
        inner = x.new_empty(R, T, B, H) if given["activation"] == "modrelu" else gradients
        bias = x if given["output_bias"] is None else given["output_bias"]
        tensors = [states, given["trace_c"], given["trace_gates"], transposed, bias, *shared, carried_c]
        tensors += [gradients, inner, norm]
    else:
        tensors = [states, given["trace_gates"], transposed, *shared, gradients, norm]
    _launch("backward", form, given, tensors, [T, R, B, K, given["every"]], **flags)
    made = _weight_gradients(form, given, states, gradients, inner)
    made["h"] = carried
    if carried_c is not None:
        made["c"] = carried_c[T % 2].clone()
    return tuple(
        made[name] if len(shape) > 1 else x.new_empty(shape) for name, shape in gradient_shapes(form, given).items()
    )


def fake_backward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """Tensors without contents, with the shapes of `backward`'s."""
    return tuple(given["input"].new_empty(shape) for shape in gradient_shapes(form, given).values())


def _states(given: dict[str, Any]) -> Tensor:
    """h_{-1} to h_{T-1}, (R, T + 1, B, H): forward returned them in two parts, which lie side by side in memory.

    Unless somebody moved them in between, as hooks on saved tensors may.
    """
    early, late = given["trace_h"], given["output"]
    R, _, B, H = late.shape
    steps = early.shape[1] + late.shape[1]
    stride = (steps * B * H, B * H, H, 1)
    reach = early.data_ptr() + early.shape[1] * B * H * early.element_size()
    if reach == late.data_ptr() and early.stride() == late.stride() == stride:
        return early.as_strided((R, steps, B, H), stride)
    return torch.cat([early, late], dim=1)


def _weight_gradients(
    form: Form, given: dict[str, Any], states: Tensor, gradients: Tensor, inner: Tensor | None
) -> dict[str, Tensor]:
    """Sums over time and batch, and the input's gradient, a replica at a time; layouts: `kernels/time_loops.py`."""
    x, H = given["input"], given["h"].shape[-1]
    T, R, B, I = x.shape
    G, gru = form.rows * H, form.name == "gru"
    made = {n: torch.empty_like(given[n]) for n in form.tensors if given[n] is not None and n not in form.states}
    for r in range(R):
        d_TBG = gradients[r].view(T * B, -1)
        x_TBI, before_TBH = x[:, r].reshape(T * B, I), states[r, :T].reshape(T * B, H)
        torch.mm(before_TBH.T, d_TBG[:, :G], out=made["weight_recurrent"][r])
        by_input, total = torch.mm(x_TBI.T, d_TBG), d_TBG.sum(0)
        # The GRU's third block is that of h's product, the fourth that of x's.
        skip = [slice(0, 2 * H), slice(3 * H, 4 * H)] if gru else [slice(0, G)]
        made["weight_input"][r] = torch.cat([by_input[:, s] for s in skip], dim=1)
        made["bias"][r, 0] = torch.cat([total[s] for s in skip])
        if gru:
            made["bias_candidate_recurrent"][r, 0] = total[2 * H : 3 * H]
        if given["input_gradient"]:
            weight_GI = given["weight_input"][r].T
            d_input = torch.mm(d_TBG[:, skip[0]], weight_GI[skip[0]])
            if gru:
                d_input.addmm_(d_TBG[:, skip[1]], weight_GI[2 * H :])
            made["input"][:, r] = d_input.view(T, B, I)
        for name, sign, part in _activation_parts(form, given, states, gradients, inner, r):
            made[name][r, 0] = (sign.sign() * part).reshape(T * B, H).sum(0)
    return made


def _activation_parts(
    form: Form, given: dict[str, Any], states: Tensor, gradients: Tensor, inner: Tensor | None, r: int
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(bias, something with the sign of phi's argument, dL/d argument) of one replica: dphi/db = sign(a) phi'(a)."""
    H = given["h"].shape[-1]
    if given["activation"] != "modrelu":
        return
    if form.name == "rnn":
        yield "activation_bias", states[r, 1:], gradients[r]
    elif form.name == "gru":
        yield "activation_bias", given["trace_gates"][r, ..., 2 * H : 3 * H], gradients[r, ..., 3 * H :]
    else:
        assert inner is not None
        yield "candidate_bias", given["trace_gates"][r, ..., 3 * H :], gradients[r, ..., 3 * H :]
        yield "output_bias", given["trace_c"][r, 1:], inner[r]


# --- Ahead of time ----------------------------------------------------------------------------------------------------


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
