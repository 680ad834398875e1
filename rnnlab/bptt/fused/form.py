"""What the fused engine's operators take and give, whoever computes them: `operators.py` (C++) or `cuda.py` (Triton).

T time, R replica, B batch, I input, H hidden, G gate rows, K outputs that are returned, S state components.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

OPTIONS = {
    "activation": "str",
    "slope": "float",
    "rule": "str",
    "threshold": "float",
    "every": "int",
    "last": "int",
    "keep": "int",
    "threads": "int",
    "precision": "str",
}
"""What an operator takes beside tensors, in its order, as a schema's types."""


@dataclass(frozen=True)
class Form:
    """What an operator takes and keeps.

    code: the C++ kernel's number for it; rows: G / H.
    parameters: beside the input's and the recurrent weights and the bias.
    activation_biases: one optional tensor (R, 1, H) per place where the cell applies its activation.
    states: names of the state components; gates: blocks of H activated values per step that backward needs.
    """

    name: str
    code: int
    rows: int
    parameters: tuple[str, ...]
    activation_biases: tuple[str, ...]
    states: tuple[str, ...]
    gates: int

    @property
    def tensors(self) -> tuple[str, ...]:
        """The differentiable inputs, in the operator's order."""
        shared = ("input", "weight_input", "weight_recurrent", "bias")
        return (*shared, *self.parameters, *self.activation_biases, *self.states)

    @property
    def traces(self) -> tuple[str, ...]:
        """The outputs that only backward reads."""
        return ("trace_h", *(["trace_c"] if "c" in self.states else []), *(["trace_gates"] if self.gates else []))

    @property
    def returned(self) -> tuple[str, ...]:
        """What forward returns, in its order."""
        return ("output", *(f"last_{state}" for state in self.states), *self.traces)


FORMS = {
    form.name: form
    for form in (
        Form("rnn", 0, 1, (), ("activation_bias",), ("h",), 0),
        Form("lstm", 1, 4, (), ("candidate_bias", "output_bias"), ("h", "c"), 4),
        Form("gru", 2, 3, ("bias_candidate_recurrent",), ("activation_bias",), ("h",), 4),
    )
}


def check(form: Form, given: dict[str, Any], precisions: tuple[str, ...]) -> None:
    """The kernels read memory by these shapes, so they must be right.

    Args:
        precisions: what the kernels can do with float32; with float64 it is `ieee`.
    Raises:
        ValueError: what was given, and what it must be.
    """
    (T, R, B, I), H, x = given["input"].shape, given["h"].shape[-1], given["input"]
    shapes = _shapes(form, T, R, B, I, H, given["last"])
    for name in (*form.tensors, "mask", "norm", "output", "d_output", *(f"d_{name}" for name in form.states)):
        tensor, shape = given.get(name), shapes.get(name, (R, 1, H))
        dtype = {"mask": torch.bool, "norm": torch.float64}.get(name, x.dtype)
        if name == "norm" and tensor is not None and not tensor.is_contiguous():
            raise ValueError(f"rnnlab::{form.name}: norm must be contiguous: it is written")
        if tensor is not None and (tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device != x.device):
            raise ValueError(
                f"rnnlab::{form.name}: {name} is {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}; "
                f"it must be {shape}, {dtype}, on {x.device}"
            )
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rnnlab::{form.name}: input is {x.dtype}; it must be torch.float32 or torch.float64")
    if min(T, R, B, I, H) < 1 or not 1 <= given["last"] <= T or given["keep"] < 0 or given["threads"] < 1:
        raise ValueError(
            f"rnnlab::{form.name}: T, R, B, I, H = {(T, R, B, I, H)}, last={given['last']}, keep={given['keep']}, "
            f"threads={given['threads']}; sizes and threads must be 1 or more, last 1 to T, keep 0 or more"
        )
    allowed = precisions if x.dtype == torch.float32 else ("ieee",)
    if given["precision"] not in allowed:
        raise ValueError(
            f"rnnlab::{form.name}: precision={given['precision']}; for {x.dtype} on {x.device} it must be "
            f"{' or '.join(allowed)}"
        )


def _shapes(form: Form, T: int, R: int, B: int, I: int, H: int, K: int) -> dict[str, tuple[int, ...]]:
    """Of all that is not (R, 1, H)."""
    shapes: dict[str, tuple[int, ...]] = {"input": (T, R, B, I), "mask": (T, R, B), "norm": (len(form.states), T, R, B)}
    shapes |= {"weight_input": (R, I, form.rows * H), "weight_recurrent": (R, H, form.rows * H)}
    shapes |= {"bias": (R, 1, form.rows * H), "output": (R, K, B, H), "d_output": (R, K, B, H)}
    return shapes | {name: (R, B, H) for state in form.states for name in (state, f"d_{state}")}


def gradient_shapes(form: Form, given: dict[str, Any]) -> dict[str, torch.Size]:
    """Per differentiable input; (0,) where no gradient is wanted."""
    empty = torch.Size((0,))
    wanted = {"input": given["input_gradient"], **dict.fromkeys(form.states, given["state_gradient"])}
    return {
        name: given[name].shape if wanted.get(name, True) and given[name] is not None else empty
        for name in form.tensors
    }


def fake_backward(form: Form, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """Tensors without contents, with the shapes of backward's."""
    return tuple(given["input"].new_empty(shape) for shape in gradient_shapes(form, given).values())
