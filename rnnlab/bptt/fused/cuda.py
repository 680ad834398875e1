"""The operators' halves for a CUDA device, over the Triton kernels; on CPU tensors the same kernels are interpreted.

A kernel launch runs a cell's time loop over a block of steps, one program per replica and tile of the batch. What has
no order in time is left to torch: the input's product before forward, the gradients of weights, biases and input after
backward. They are taken one replica at a time, because a library may choose another kernel for another number of
replicas, and one block at a time, so that nothing but the trace grows with T. So a replica's bits depend neither on R
nor on `keep`; no sum has an order that varies.

T time, R replica, B batch, I input, H hidden, G gate rows, K outputs that are returned, S state components.
"""

from typing import Any

import torch
from torch import Tensor

from rnnlab.bptt.fused.form import Form, check, gradient_shapes
from rnnlab.bptt.fused.launch import launch
from rnnlab.bptt.fused.precision import PRECISIONS, packed, products, rounded, within

BLOCK = 16384
"""Examples times steps of one product: it takes longer than its launch, and its operands stay small."""

Given = dict[str, Any]


def _block(given: Given) -> int:
    """How many steps a launch takes; it must depend neither on R nor on `keep`, or bits would."""
    return max(1, BLOCK // given["input"].shape[2])


def _segment(given: Given) -> int:
    """How many steps lie between two states that are kept: `keep`, rounded up to whole blocks."""
    return -(-given["keep"] // _block(given)) * _block(given)


def shapes(form: Form, given: Given) -> dict[str, tuple[Any, ...]]:
    """The shapes of what forward returns. When torch traces the operator, sizes are symbols."""
    T, R, B, _ = given["input"].shape
    H, K, keep = given["h"].shape[-1], given["last"], given["keep"]
    starts = (T - 1) // _segment(given) if keep > 1 else 0  # states at the beginning of segments, the first left out
    all_shapes: dict[str, tuple[Any, ...]] = {"output": (R, K, B, H)}
    all_shapes |= {f"last_{name}": (R, B, H) for name in form.states}
    all_shapes["trace_h"] = (R, T + 1 - K if keep == 1 else starts, B, H)
    all_shapes["trace_c"] = (R, T + 1 if keep == 1 else starts, B, H)
    all_shapes["trace_gates"] = (R, T if keep == 1 else 0, B, 4 * H)
    return {name: all_shapes[name] for name in form.returned}


# --- Forward ----------------------------------------------------------------------------------------------------------


def forward(form: Form, given: Given) -> tuple[Tensor, ...]:
    """Outputs, final states, and what backward needs: see `form.Form`."""
    check(form, given, PRECISIONS)
    given = {k: v.contiguous() if isinstance(v, Tensor) else v for k, v in given.items()}
    x, block = given["input"], _block(given)
    T, K, whole = x.shape[0], given["last"], given["keep"] == 1
    made = {} if whole else {name: x.new_empty(shape) for name, shape in shapes(form, given).items()}
    lanes = _lanes(form, given, T if whole else None)
    output = made.get("output", lanes["h"])
    for name in form.states:
        lanes[name][:, 0] = given[name]
    for first in range(0, T, block):
        steps = min(block, T - first)
        if first and given["keep"] > 1 and first % _segment(given) == 0:
            for name in form.states:
                made[f"trace_{name}"][:, first // _segment(given) - 1] = lanes[name][:, 0]
        _advance(form, given, lanes, output, first, steps, at=first if whole else None)
    end = T if whole else 0
    made |= {f"last_{name}": lanes[name][:, end].clone() for name in form.states}
    if whole:
        made |= {f"trace_{name}": lane for name, lane in lanes.items()}
        made["output"], made["trace_h"] = lanes["h"][:, T + 1 - K :], lanes["h"][:, : T + 1 - K]
    return tuple(made[name] for name in form.returned)


def fake_forward(form: Form, given: Given) -> tuple[Tensor, ...]:
    """Tensors without contents, with the shapes and strides of `forward`'s."""
    x, sizes = given["input"], shapes(form, given)
    made = {name: x.new_empty(shape) for name, shape in sizes.items()}
    if given["keep"] == 1:
        T, R, B, _ = x.shape
        states = x.new_empty(R, T + 1, B, given["h"].shape[-1])
        early = T + 1 - given["last"]
        made["output"], made["trace_h"] = states[:, early:], states[:, :early]
    return tuple(made.values())


def _lanes(form: Form, given: Given, steps: int | None) -> dict[str, Tensor]:
    """Room for the states before and after each of these steps, and for the gates; without: two states, in turn."""
    x, (R, B, H) = given["input"], given["h"].shape
    slots = 2 if steps is None else steps + 1
    lanes = {name: x.new_empty(R, slots, B, H) for name in form.states}
    if form.gates:
        lanes["gates"] = x.new_empty(R, 0 if steps is None else steps, B, 4 * H)
    return lanes


def _advance(
    form: Form, given: Given, lanes: dict[str, Tensor], output: Tensor, first: int, steps: int, *, at: int | None
) -> None:
    """Run a block of steps; the state before it lies in slot `at`, and all that backward reads is written after it.

    Where `at` is None the state lies in slot 0, before and after, and the last outputs are all that is written.
    """
    x, keep = given["input"], at is not None
    projected = _projected(given, first, steps)
    weight = packed(given["weight_recurrent"], given["precision"])
    biases = [given[name] for name in (*form.parameters, *form.activation_biases)]
    mask = _mask(given)
    views = [lane[:, at:] if keep else lane for lane in lanes.values()]
    tensors = [projected, weight, *(x if bias is None else bias for bias in biases), mask, *views, output]
    sizes = {"K": given["last"], "first": first, "steps": steps, "blocks": steps, "slots": lanes["h"].shape[1]}
    launch("forward", form, given, tensors, sizes, KEEP=keep)
    if not keep and steps % 2:
        for name in form.states:
            lanes[name][:, 0] = lanes[name][:, 1]


def _mask(given: Given) -> Tensor:
    """1 where a step is there, in the input's type: bytes lead Triton 3.7 to a product of float64 that it has not."""
    return given["input"] if given["mask"] is None else given["mask"].to(given["input"].dtype)


def _projected(given: Given, first: int, steps: int) -> Tensor:
    """x U + b of a block of steps, (R, steps, B, G)."""
    precision = within(given["precision"], "forward")
    x, weight = (rounded(t, precision) for t in (given["input"][first : first + steps], given["weight_input"]))
    _, R, B, I = x.shape
    result = x.new_empty(R, steps, B, weight.shape[-1])
    with products(precision):
        for r in range(R):
            torch.addmm(
                given["bias"][r], x[:, r].reshape(steps * B, I), weight[r], out=result[r].view(steps * B, -1)
            )  # fmt: skip
    return result


# --- Backward ---------------------------------------------------------------------------------------------------------


def backward(form: Form, given: Given) -> tuple[Tensor, ...]:
    """The gradient of each of `form.tensors`; fills `norm`."""
    kept = ("output", "norm", *form.traces)
    check(form, given, PRECISIONS)
    given = {k: v.contiguous() if isinstance(v, Tensor) and k not in kept else v for k, v in given.items()}
    T, block = given["input"].shape[0], _block(given)
    segment = T if given["keep"] == 1 else _segment(given)
    adjoints = _adjoints(form, given)
    sums = _Sums(form, given)
    for start in reversed(range(0, T, segment)):
        end = min(start + segment, T)
        lanes = _kept(form, given) if given["keep"] == 1 else _again(form, given, start, end)
        for first in reversed(range(start, end, block)):
            steps = min(block, end - first)
            gradients, signs = _retreat(form, given, lanes, adjoints, first, steps, at=first - start)
            sums.add(first, steps, lanes["h"][:, first - start :], gradients, signs)
    made = sums.gradients() | {name: adjoints[name] for name in form.states}
    if "c" in made:
        made["c"] = made["c"][0].clone()
    return tuple(
        made[name] if len(shape) > 1 else given["input"].new_empty(shape)
        for name, shape in gradient_shapes(form, given).items()
    )


def _adjoints(form: Form, given: Given) -> dict[str, Tensor]:
    """Of the final states, to begin with; and room to work in."""
    x, (R, B, H) = given["input"], given["h"].shape
    made = {"h": x.new_zeros(R, B, H), "direct": x.new_empty(R, B, H)}
    if "c" in form.states:
        made["c"] = x.new_zeros(2, R, B, H)
    for name, room in (("h", made["h"]), ("c", made["c"][0] if "c" in made else None)):
        if room is not None and given[f"d_{name}"] is not None:
            room.copy_(given[f"d_{name}"])
    return made


def _kept(form: Form, given: Given) -> dict[str, Tensor]:
    """What forward wrote, where it kept everything.

    h_{-1} to h_{T-1} were returned in two parts, which lie side by side in memory; unless somebody moved them in
    between, as hooks on saved tensors may.
    """
    early, late = given["trace_h"], given["output"]
    R, _, B, H = late.shape
    steps = early.shape[1] + late.shape[1]
    stride = (steps * B * H, B * H, H, 1)
    reach = early.data_ptr() + early.shape[1] * B * H * early.element_size()
    together = reach == late.data_ptr() and early.stride() == late.stride() == stride
    h = early.as_strided((R, steps, B, H), stride) if together else torch.cat([early, late], dim=1)
    return {"h": h, **{name.removeprefix("trace_"): given[name].contiguous() for name in form.traces[1:]}}


def _again(form: Form, given: Given, start: int, end: int) -> dict[str, Tensor]:
    """The same for a segment, computed again from the state that was kept at its beginning."""
    lanes = _lanes(form, given, end - start)
    for name in form.states:
        kept = given[f"trace_{name}"]
        lanes[name][:, 0] = kept[:, start // _segment(given) - 1] if start else given[name]
    for first in range(start, end, _block(given)):
        _advance(form, given, lanes, given["output"], first, min(_block(given), end - first), at=first - start)
    return lanes


def _retreat(
    form: Form, given: Given, lanes: dict[str, Tensor], adjoints: dict[str, Tensor], first: int, steps: int, *, at: int
) -> tuple[Tensor, Tensor]:
    """Run backward through a block of steps whose first state lies in slot `at`.

    Returns the gradients of the preactivations and, for modrelu, of its biases (R, steps, B, ...); layouts:
    `kernels/time_loops.py`.
    """
    x, (R, B, H) = given["input"], given["h"].shape
    gradients = x.new_empty(R, steps, B, H * max(1, form.gates))
    signs = gradients
    if given["activation"] == "modrelu":
        signs = x.new_empty(R, steps, B, H * len(form.activation_biases))
    precision = within(given["precision"], "backward")
    transposed = packed(given["weight_recurrent"].transpose(1, 2).contiguous(), precision)
    tensors = [lane[:, at:] for name, lane in lanes.items() if (form.name, name) != ("lstm", "h")] + [transposed]
    if form.name == "lstm":
        tensors += [x if given["output_bias"] is None else given["output_bias"]]
    tensors += [_mask(given), x if given["d_output"] is None else given["d_output"], adjoints["h"], adjoints["direct"]]
    tensors += [adjoints["c"]] if form.name == "lstm" else []
    tensors += [gradients, signs, x if given["norm"] is None else given["norm"]]
    sizes = {"K": given["last"], "every": given["every"], "first": first, "steps": steps, "blocks": steps}
    flags = {"RULE": given["rule"], "THRESHOLD": float(given["threshold"])}
    flags |= {"HAS_OUTPUT": given["d_output"] is not None, "RECORD": given["norm"] is not None}
    launch("backward", form, given, tensors, {**sizes, "slots": lanes["h"].shape[1]}, **flags)
    if steps % 2 and "c" in adjoints:
        adjoints["c"][0] = adjoints["c"][1]
    return gradients, signs


class _Sums:
    """Sums over time and batch, added up a block and a replica at a time; and the input's gradient."""

    def __init__(self, form: Form, given: Given) -> None:
        (_, R, _, I), H, x = given["input"].shape, given["h"].shape[-1], given["input"]
        self.form, self.given, self.H = form, given, H
        width = H * max(1, form.gates)
        self.recurrent, self.by_input = x.new_zeros(R, H, form.rows * H), x.new_zeros(R, I, width)
        self.total, self.signs = x.new_zeros(R, 1, width), x.new_zeros(R, len(form.activation_biases), H)
        self.d_input = torch.empty_like(x) if given["input_gradient"] else x.new_empty(0)
        # The GRU's third block of gradients is that of h's product, the fourth that of x's.
        gru = form.name == "gru"
        self.parts = [slice(0, 2 * H), slice(3 * H, 4 * H)] if gru else [slice(0, width)]

    def add(self, first: int, steps: int, states: Tensor, gradients: Tensor, signs: Tensor) -> None:
        """A block's part. `states`: those before its steps and more, (R, …, B, H)."""
        given, H, precision = self.given, self.H, within(self.given["precision"], "backward")
        steps_of = slice(first, first + steps)
        modrelu = given["activation"] == "modrelu"
        with products(precision):
            for r in range(len(gradients)):
                self.total[r, 0] += gradients[r].view(-1, gradients.shape[-1]).sum(0)
                if modrelu:
                    self.signs[r] += signs[r].view(-1, signs.shape[-1]).sum(0).view(-1, H)
                d_NG = rounded(gradients[r].view(-1, gradients.shape[-1]), precision)
                x_NI = rounded(given["input"][steps_of, r].reshape(len(d_NG), -1), precision)
                before_NH = rounded(states[r, :steps].reshape(len(d_NG), H), precision)
                self.recurrent[r].addmm_(before_NH.T, d_NG[:, : self.form.rows * H])
                self.by_input[r].addmm_(x_NI.T, d_NG)
                if given["input_gradient"]:
                    self.d_input[steps_of, r] = self._through_input(d_NG, r, precision).view(steps, -1, x_NI.shape[1])

    def _through_input(self, d_NG: Tensor, r: int, precision: str) -> Tensor:
        weight_GI = rounded(self.given["weight_input"][r].T, precision)
        d_input, done = None, 0
        for part in self.parts:
            rows = weight_GI[done : done + part.stop - part.start]
            d_input = d_NG[:, part] @ rows if d_input is None else d_input.addmm_(d_NG[:, part], rows)
            done += len(rows)
        assert d_input is not None
        return d_input

    def gradients(self) -> dict[str, Tensor]:
        """By the names of the operator's inputs, the states left out."""
        made = {"weight_recurrent": self.recurrent, "input": self.d_input}
        made["weight_input"] = torch.cat([self.by_input[..., part] for part in self.parts], dim=-1)
        made["bias"] = torch.cat([self.total[..., part] for part in self.parts], dim=-1)
        if self.form.name == "gru":
            made["bias_candidate_recurrent"] = self.total[..., 2 * self.H : 3 * self.H].contiguous()
        return made | {name: self.signs[:, at : at + 1].clone() for at, name in enumerate(self.form.activation_biases)}
