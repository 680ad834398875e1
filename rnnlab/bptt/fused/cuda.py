"""The operators' halves for a CUDA device, over the Triton kernels; on CPU tensors the same kernels are interpreted.

A kernel launch runs a cell's time loop, one program per replica and tile of the batch. What has no order in time is
left to torch: the input's product before forward, the gradients of weights, biases and input after backward. They are
taken one replica at a time, because a library may choose another kernel for another number of replicas. So a replica's
bits do not depend on R; no sum has an order that varies.

T time, R replica, B batch, I input, H hidden, G gate rows, K outputs that are returned, S state components.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rnnlab.bptt.fused.form import Form, check, gradient_shapes
from rnnlab.bptt.fused.launch import launch


def shapes(form: Form, given: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The shapes of what forward returns. When torch traces the operator, sizes are symbols."""
    T, R, B, _ = given["input"].shape
    H, K, kept = given["h"].shape[-1], given["last"], given["keep"] == 1
    all_shapes: dict[str, tuple[Any, ...]] = {"output": (R, K, B, H)}
    all_shapes |= {f"last_{name}": (R, B, H) for name in form.states}
    all_shapes["trace_h"] = (R, T + 1 - K if kept else 0, B, H)
    all_shapes["trace_c"] = (R, T + 1 if kept else 0, B, H)
    all_shapes["trace_gates"] = (R, T if kept else 0, B, 4 * H)
    return {name: all_shapes[name] for name in form.returned}


# --- Forward ----------------------------------------------------------------------------------------------------------


def forward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """Outputs, final states, and what backward needs: see `operators.Form`."""
    check(form, given)
    if given["keep"] > 1:
        raise ValueError(f"rnnlab::{form.name}: keep={given['keep']}; on a CUDA device it must be 0 or 1")
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
    launch("forward", form, given, tensors, [T, R, B], **flags)
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
    launch("backward", form, given, tensors, [T, R, B, K, given["every"]], **flags)
    made = _weight_gradients(form, given, states, gradients, inner)
    made["h"] = carried
    if carried_c is not None:
        made["c"] = carried_c[T % 2].clone()
    return tuple(
        made[name] if len(shape) > 1 else x.new_empty(shape) for name, shape in gradient_shapes(form, given).items()
    )


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
