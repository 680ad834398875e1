"""The fused engine: `unroll` for the classical cells, by one operator for the whole sequence.

T time, R replica, B batch, I input, H hidden, S state components, K trailing steps kept.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnlab.activations.identity import Identity
from rnnlab.activations.leaky_relu import LeakyReLU
from rnnlab.activations.modrelu import ModReLU
from rnnlab.activations.relu import ReLU
from rnnlab.activations.sigmoid import Sigmoid
from rnnlab.activations.tanh import Tanh
from rnnlab.adjoints.clip_norm import ClipNorm
from rnnlab.adjoints.clip_value import ClipValue
from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.adjoints.truncate import Truncate
from rnnlab.bptt.fused import launch
from rnnlab.bptt.fused.form import FORMS
from rnnlab.bptt.fused.memory import zeros
from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell, State
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.cells.rnn import RNN

_CELLS = {RNN: "rnn", LSTM: "lstm", GRU: "gru"}
_ACTIVATIONS = {
    Identity: "identity",
    Tanh: "tanh",
    Sigmoid: "sigmoid",
    ReLU: "leaky_relu",
    LeakyReLU: "leaky_relu",
    ModReLU: "modrelu",
}
_RULES: dict[type[AdjointRule], Callable[[Any], tuple[str, float, int]]] = {
    NoRule: lambda rule: ("none", 0.0, 0),
    ClipNorm: lambda rule: ("clip_norm", rule.max_norm, 0),
    ClipValue: lambda rule: ("clip_value", rule.max_value, 0),
    Truncate: lambda rule: ("none", 0.0, rule.every),
}
"""(rule, threshold, every), as the operators take them."""


def why_not(cell: Cell, rule: AdjointRule, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the fused engine cannot unroll this, as a clause; None when it can."""
    if device.type not in ("cpu", "cuda"):
        return f"it serves cpu and cuda, not {device.type}"
    if device.type == "cuda" and launch.why_not():
        return launch.why_not()
    if dtype not in (torch.float32, torch.float64):
        return f"it serves float32 and float64, not {dtype}"
    if type(cell) not in _CELLS:
        return f"the cell {type(cell).__name__} has no fused form"
    for activation in _activations(cell):
        if type(activation) not in _ACTIVATIONS:
            return f"the activation {type(activation).__name__} has no fused form"
    if type(rule) not in _RULES:
        return f"the adjoint rule {type(rule).__name__} has no fused form"
    return None


def fused_unroll(
    cell: Cell,
    input_TRBI: Float[Tensor, "T R B I"],
    *,
    state: State | None = None,
    mask_TRB: Bool[Tensor, "T R B"] | None = None,
    rule: AdjointRule | None = None,
    record: bool = False,
    last: int | None = None,
    threads: int = 1,
    recompute: int = 0,
    precision: str = "ieee",
) -> Unrolled:
    """Run a cell over a sequence, as `rnnlab.bptt.unroll.unroll` does, in one kernel.

    Results do not depend on `threads`, on `recompute`, or on the number of replicas, to the bit. What no gradient
    reaches gets a gradient of zeros, where the other engine leaves None. It can be differentiated once only.

    Args:
        cell, input_TRBI, state, mask_TRB, rule, record, last: as for `rnnlab.bptt.unroll.unroll`; see `why_not`.
        threads: how many to compute with.
        recompute: 0 (or 1) keeps all that the backward pass needs; k > 1 keeps the states of every k-th step and
            computes the others again.
        precision: of the products, on a CUDA device: see `rnnlab.bptt.fused.precision`.

    Raises:
        KernelUnavailable: there is no kernel and none can be built.
    """
    from rnnlab.bptt.fused import operators  # not at the top: it registers the operators

    T, R, B, _ = input_TRBI.shape
    name, rule = _CELLS[type(cell)], NoRule() if rule is None else rule
    form = operators.FORMS[name]
    state = cell.zero_state(input_TRBI[0]) if state is None else state
    modules = _activations(cell)
    tensors = [
        input_TRBI,
        *(getattr(cell, n) for n in ("weight_input", "weight_recurrent", "bias", *form.parameters)),
        *(getattr(module, "bias", None) for module in modules),
        *state,
    ]
    differentiable = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    norms = None
    if record:
        shape = (len(cell.states), T, R, B)
        norms = input_TRBI.new_zeros(shape, dtype=torch.float64) if input_TRBI.is_cuda else zeros(shape, torch.float64)
    output, *finals = getattr(torch.ops.rnnlab, name)(
        *tensors,
        mask_TRB,
        norms,
        _ACTIVATIONS[type(modules[0])],
        getattr(modules[0], "slope", 0.0),
        *_RULES[type(rule)](rule),
        T if last is None else last,
        min(recompute or 1, T) if differentiable else 0,
        threads,
        precision,
    )
    return Unrolled(output.transpose(0, 1), tuple(finals[: len(cell.states)]), norms)


def numbers_kept(cell: Cell, steps: int, last: int, recompute: int) -> int:
    """Per unit and example, what the forward pass keeps for the backward pass; the padding of rows is left out.

    Args:
        cell: that it serves.
        steps, last, recompute: T, K and which steps' states are kept, as for `fused_unroll`.
    """
    form = FORMS[_CELLS[type(cell)]]
    if recompute > 1:
        return last + (steps - 1) // recompute * len(form.states)
    return steps * (len(form.states) + form.gates)


def _activations(cell: Cell) -> tuple[torch.nn.Module, ...]:
    """A cell's activations, one per place in its equations."""
    if isinstance(cell, LSTM):
        return (cell.candidate_activation, cell.output_activation)
    assert isinstance(cell, RNN | GRU)
    return (cell.activation,)
