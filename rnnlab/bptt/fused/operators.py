"""The operators rnnlab::rnn, lstm and gru, and their backward halves, over the C++ kernel.

Each runs a cell over a whole sequence. Forward returns, besides outputs and final states, what backward needs; backward
computes every gradient and, where it is given `norm`, the norm of each state's total adjoint at every step.

T time, R replica, B batch, I input, H hidden, G gate rows, K outputs that are returned, S state components.
"""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnlab.bptt.fused import cuda
from rnnlab.bptt.fused.form import FORMS, OPTIONS, Form, check, fake_backward, gradient_shapes
from rnnlab.bptt.fused.library import load
from rnnlab.bptt.fused.memory import lease, zeros

ACTIVATIONS = ("identity", "tanh", "sigmoid", "leaky_relu", "modrelu")
RULES = ("none", "clip_norm", "clip_value")


class _Job(ctypes.Structure):
    """`Job` of kernel.cpp, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("T", "R", "B", "I", "H", "kept", "keep", "threads")),
        *((name, ctypes.c_int64) for name in ("cell", "activation", "rule", "every")),
        ("slope", ctypes.c_double),
        ("threshold", ctypes.c_double),
        *((n, ctypes.c_void_p) for n in ("input", "weight_input", "weight_recurrent", "bias", "bias_recurrent")),
        ("activation_bias", ctypes.c_void_p * 2),
        ("state", ctypes.c_void_p * 2),
        ("mask", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("final_state", ctypes.c_void_p * 2),
        *((name, ctypes.c_void_p) for name in ("trace_h", "trace_c", "trace_gates", "d_output")),
        ("d_final", ctypes.c_void_p * 2),
        *((n, ctypes.c_void_p) for n in ("d_input", "d_weight_input", "d_weight_recurrent", "d_bias")),
        ("d_bias_recurrent", ctypes.c_void_p),
        ("d_activation_bias", ctypes.c_void_p * 2),
        ("d_state", ctypes.c_void_p * 2),
        ("norm", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
    )


_loaded: list[ctypes.CDLL] = []


def kernel(say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)) -> ctypes.CDLL:
    """The compiled kernel; built at the first call where there is none yet.

    Args:
        say: is told when it has to be built, which takes a while.

    Raises:
        KernelUnavailable: with the reason.
    """
    if not _loaded:
        library = load(say)
        library.rnnlab_job_bytes.restype = library.rnnlab_padded.restype = ctypes.c_int64
        library.rnnlab_workspace_bytes.restype = ctypes.c_int64
        library.rnnlab_padded.argtypes = (ctypes.c_int64, ctypes.c_int)
        if library.rnnlab_job_bytes() != ctypes.sizeof(_Job):
            raise RuntimeError("_Job is not kernel.cpp's Job, field by field")
        _loaded.append(library)
    return _loaded[0]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def _pair(tensors: Any) -> Any:
    return (ctypes.c_void_p * 2)(*(_pointer(t) for t in tensors))


def _job(form: Form, given: dict[str, Any]) -> _Job:
    T, R, B, I = given["input"].shape
    job = _Job(T=T, R=R, B=B, I=I, H=given["h"].shape[-1], kept=given["last"], cell=form.code)
    job.activation, job.rule = ACTIVATIONS.index(given["activation"]), RULES.index(given["rule"])
    for name in ("keep", "threads", "every", "slope", "threshold"):
        setattr(job, name, given[name])
    for name in ("input", "weight_input", "weight_recurrent", "bias", "mask"):
        setattr(job, name, _pointer(given[name]))
    job.bias_recurrent = _pointer(given.get("bias_candidate_recurrent"))
    job.activation_bias = _pair(given[name] for name in form.activation_biases)
    job.state = _pair(given[name] for name in form.states)
    return job


def _run(job: _Job, dtype: torch.dtype, *, backward: bool) -> None:
    double = int(dtype == torch.float64)
    size = kernel().rnnlab_workspace_bytes(ctypes.byref(job), double, int(backward))
    workspace = lease((max(0, size),), torch.uint8)
    job.workspace = workspace.data_ptr()
    if size < 0 or kernel().rnnlab_run(ctypes.byref(job), double, int(backward)):
        raise MemoryError("the fused engine's kernel")


def _shapes(form: Form, given: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The shapes in memory of what forward returns; rows of H are padded to the kernel's width.

    When torch traces the operator, sizes are symbols.
    """
    T, R, B, _ = given["input"].shape
    H, K, keep = given["h"].shape[-1], given["last"], given["keep"]
    Hp = kernel().rnnlab_padded(int(H), int(given["input"].dtype == torch.float64))
    steps = {0: 0, 1: T}.get(keep, (T - 1) // max(1, keep))  # how many states are kept
    shapes: dict[str, tuple[Any, ...]] = {"output": (R, K, B, Hp)}
    shapes |= {f"last_{name}": (R, B, H) for name in form.states}
    shapes["trace_h"] = (R, T - K if keep == 1 else steps, B, Hp)
    shapes |= {"trace_c": (R, steps, B, Hp), "trace_gates": (R, T if keep == 1 else 0, B, form.gates * Hp)}
    return {name: shapes[name] for name in form.returned}


def _forward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    check(form, given, ("ieee",))
    dtype, H = given["input"].dtype, given["h"].shape[-1]
    given = {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in given.items()}
    made = {name: lease(shape, dtype) for name, shape in _shapes(form, given).items()}
    job = _job(form, given)
    job.output = _pointer(made["output"])
    job.final_state = _pair(made[f"last_{name}"] for name in form.states)
    for name in form.traces:
        setattr(job, name, _pointer(made[name]))
    _run(job, dtype, backward=False)
    made["output"] = made["output"][..., :H]
    return tuple(made.values())


def _fake_forward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    if given["input"].is_cuda:
        return cuda.fake_forward(form, given)
    made = {name: given["input"].new_empty(shape) for name, shape in _shapes(form, given).items()}
    made["output"] = made["output"][..., : given["h"].shape[-1]]
    return tuple(made.values())


def _backward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    check(form, given, ("ieee",))
    dtype = given["input"].dtype
    expected = _shapes(form, given)
    given = {k: v.contiguous() if isinstance(v, Tensor) and k != "output" else v for k, v in given.items()}
    given["output"] = _padded(given["output"], expected["output"])
    for name in form.traces:
        if given[name].shape != expected[name]:
            raise ValueError(f"rnnlab::{form.name}_backward: {name} is {given[name].shape}, not {expected[name]}")
    shapes = gradient_shapes(form, given)
    made = {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    job = _job(form, given)
    for name in ("output", "d_output", "norm", *form.traces):
        setattr(job, name, _pointer(given[name]))
    job.d_final = _pair(given[f"d_{name}"] for name in form.states)
    for name in ("input", "weight_input", "weight_recurrent", "bias"):
        setattr(job, f"d_{name}", _pointer(made[name]))
    job.d_bias_recurrent = _pointer(made.get("bias_candidate_recurrent"))
    job.d_activation_bias = _pair(made[name] for name in form.activation_biases)
    job.d_state = _pair(made[name] for name in form.states)
    _run(job, dtype, backward=True)
    return tuple(made.values())


def _padded(output: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The output with its rows as far apart as forward laid them; a hook on saved tensors may have copied it."""
    if output.stride() == torch.empty(shape, device="meta").stride():
        return output
    full = zeros(shape, output.dtype)
    full[..., : output.shape[-1]] = output
    return full


def _register(library: torch.library.Library, form: Form) -> None:
    name = form.name
    optional = {"mask", "norm", *form.activation_biases}
    forward_names = (*form.tensors, "mask", "norm", *OPTIONS)
    derivatives = ("d_output", *(f"d_{s}" for s in form.states))
    backward_names = (*derivatives, "output", *form.traces, *forward_names, "input_gradient", "state_gradient")

    def declared(names: tuple[str, ...], mutable: str = "") -> str:
        kinds = {**OPTIONS, "input_gradient": "bool", "state_gradient": "bool", mutable: "Tensor(a!)?"}
        kinds |= dict.fromkeys(derivatives, "Tensor?")
        default = dict.fromkeys(optional, "Tensor?")
        return ", ".join(f"{kinds.get(n, default.get(n, 'Tensor'))} {n}" for n in names)

    library.define(f"{name}({declared(forward_names)}) -> ({', '.join(f'Tensor {n}' for n in form.returned)})")
    library.define(
        f"{name}_backward({declared(backward_names, mutable='norm')}) -> ({', '.join('Tensor' for _ in form.tensors)})"
    )

    def named(work: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
        return lambda *args: work(form, dict(zip(names, args, strict=True)))

    library.impl(name, named(_forward, forward_names), "CPU")
    library.impl(f"{name}_backward", named(_backward, backward_names), "CPU")
    library.impl(name, named(cuda.forward, forward_names), "CUDA")
    library.impl(f"{name}_backward", named(cuda.backward, backward_names), "CUDA")
    for suffix, fake, names in (("", _fake_forward, forward_names), ("_backward", fake_backward, backward_names)):
        torch.library.register_fake(f"rnnlab::{name}{suffix}", named(fake, names), lib=library)

    def remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        made = dict(zip(form.returned, output, strict=True))
        given = dict(zip(forward_names, inputs, strict=True))
        saved = {**{n: made[n] for n in ("output", *form.traces)}, **{n: given[n] for n in (*form.tensors, "mask")}}
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*saved.values())
        ctx.saved_names = tuple(saved)
        ctx.norm, ctx.options = given["norm"], {n: given[n] for n in OPTIONS}

    @once_differentiable
    def differentiate(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = dict(zip(ctx.saved_names, ctx.saved_tensors, strict=True))
        given |= ctx.options | {"norm": ctx.norm} | dict(zip(derivatives, gradients, strict=False))
        wanted = dict(zip(forward_names, ctx.needs_input_grad, strict=True))
        given["input_gradient"] = wanted["input"]
        given["state_gradient"] = any(wanted[s] for s in form.states)
        results = getattr(torch.ops.rnnlab, f"{name}_backward")(*(given[n] for n in backward_names))
        made = dict(zip(form.tensors, results, strict=True))
        return tuple(made[n] if n in made and wanted[n] else None for n in forward_names)

    torch.library.register_autograd(f"rnnlab::{name}", differentiate, setup_context=remember, lib=library)


LIBRARY = torch.library.Library("rnnlab", "DEF")
for _form in FORMS.values():
    _register(LIBRARY, _form)
