"""Laws of cells, with activations without and with parameters.

T time, R replica, B batch, I input, H hidden.
"""

from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor

from rnnlab.bptt.reverse import reverse_sweep
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell, initialise_cell
from rnnlab.laws.company import experiment_with
from rnnlab.laws.ground import DTYPES, component, draw, net_of, right_aligned_mask, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import NotConcernedError, hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.streams import generator

WITHOUT_AND_WITH = ("tanh", "modrelu")
"""Activations: without parameters, and with."""
SHAPES = {"odd": (5, 7, 3, 5), "narrow": (3, 1, 1, 2), "prime": (2, 13, 2, 17), "one input": (5, 8, 1, 64)}
"""T, B, I, H."""
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-13}


def made(subject: Subject, activation: Any = "tanh", *, replicas: int = 1, inputs: int = 3, **changes: int) -> Cell:
    """The cell, with all parameters zero; to one that knows of places, its inputs are a row of pixels.

    `activation` is an option of rnnlab's, or makes one for (replicas, units).
    """
    changed = subject.changed(**changes)
    context = {"replicas": replicas, "units": changed.values["hidden"]}
    if isinstance(activation, str):
        return changed.make(
            replicas=replicas,
            inputs=inputs,
            outputs=2,
            grid=(1, inputs),
            activation=lambda: component("activation", activation, context),
        )
    return changed.make(
        replicas=replicas,
        inputs=inputs,
        outputs=2,
        grid=(1, inputs),
        activation=lambda: activation.make(**context),
    )


def told(cell: Cell, *shape: int, seed: int, mask: Tensor | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    """Inputs (T, R, B, I) as a cell's steps take them."""
    return cell.told(uniform(*shape, cell.inputs, seed=seed, dtype=dtype), mask, None)


@observed("cell")
def _outputs(subject: Subject) -> list[Tensor]:
    cell = made(subject)
    if not cell.states:  # its keys are for an architecture
        return list(experiment_with(subject).model([0]).parameters())
    drawn = component("initialiser", "uniform", {"units": cell.hidden})
    initialise_cell(cell, 0, drawn, drawn, drawn, generator(0, "init"))
    net = net_of(cell, outputs=2)
    net.initialise_readout(0, drawn, drawn, generator(0, "init"))
    inputs, target = uniform(4, 1, 2, 3, seed=1), uniform(3, 1, 2, 2, seed=2)
    prediction = net.readout(unroll(cell, cell.told(inputs.float(), None, target.float())).output_KRBH)
    # Of the gradient too: it may be an estimate with keys of its own.
    gradients = torch.autograd.grad(prediction.square().sum(), list(cell.parameters()), allow_unused=True)
    return [prediction, *(gradient for gradient in gradients if gradient is not None)]


@law("cell")
def it_has_the_states_and_blocks_that_it_says(subject: Subject) -> None:
    cell = _concerned(draw(made(subject, replicas=2, hidden=5)))
    start = cell.zero_state(torch.zeros(2, 4, 3, dtype=torch.float64))
    widths = dict(zip(cell.states, cell.widths, strict=True))
    shapes = [tuple(s.shape) for s in start]
    hold(shapes == [(2, 4, width) for width in widths.values()], f"states {widths} have the shapes {shapes}")
    hold(all((s == 0).all() for s in start), "a sequence does not start from zeros")
    state = tuple(uniform(*s.shape, seed=5 + k) for k, s in enumerate(start))
    before = tuple(s.clone() for s in state)
    output, new = cell.step(told(cell, 1, 2, 4, seed=4)[0], state)
    if len(cell.put_out_states) == 1:
        hold(output is new[0], "the output is not the first state component")
    hold_same(output, cell.put_out(new), f"the output, and the state components {cell.put_out_states}")
    hold([tuple(s.shape) for s in new] == shapes, f"a step leaves {[tuple(s.shape) for s in new]}, not {widths}")
    hold(all(not torch.equal(n, s) for n, s in zip(new, state, strict=True)), "a step leaves a component as it was")
    hold(
        all(torch.equal(s, b) for s, b in zip(state, before, strict=True)), "a step changes the state that it is given"
    )
    stacked = [(cell.weight_input, cell.input_blocks), (cell.bias, cell.bias_blocks)]
    stacked += [(cell.weight_recurrent, cell.blocks)] if cell.blocks else []
    for parameter, blocks in stacked:
        whole = torch.cat([cell.block(parameter, name) for name in blocks], dim=-1)
        hold_same(whole, parameter, f"blocks {blocks} side by side, and the parameter")
    named = "weight_recurrent" in dict(cell.named_parameters())
    hold(cell.recurrent == named, f"recurrent is {cell.recurrent}, and it has weight_recurrent: {named}")
    for one, other in combinations((cell.blocks, cell.input_blocks, cell.bias_blocks), 2):
        hold(one == other or len(one) != len(other), f"a parameter's width does not tell {one} from {other}")


@law("cell")
def gradients_and_adjoints_agree_with_the_oracle(subject: Subject) -> None:
    for activation in WITHOUT_AND_WITH:
        agree_with_the_oracle(_concerned(draw(made(subject, activation, replicas=2))))


@law("cell")
def gradients_pass_finite_differences(subject: Subject) -> None:
    if not cast(type[Cell], subject.cls).differentiable:
        raise NotConcernedError
    for activation in WITHOUT_AND_WITH:
        pass_finite_differences(_concerned(draw(made(subject, activation, replicas=2, inputs=2, hidden=2))))


@law("cell")
def a_replica_computes_as_alone_to_the_bit(subject: Subject) -> None:
    _concerned(made(subject))
    without, with_parameters = WITHOUT_AND_WITH
    as_alone(subject, without, *SHAPES)
    as_alone(subject, with_parameters, "odd")


def _concerned(cell: Cell) -> Cell:
    """The cell, where it is one: `none` has no state, and takes no steps."""
    if not cell.states:
        raise NotConcernedError
    return cell


def agree_with_the_oracle(cell: Cell) -> None:
    """Of a cell in float64 with two replicas and three inputs, on sequences of different lengths."""
    cotangent, mask = uniform(6, 2, 3, cell.width, seed=2), right_aligned_mask(6, 2, 3)
    inputs = told(cell, 6, 2, 3, seed=1, mask=mask).requires_grad_()
    unrolled = unroll(cell, inputs, mask_TRB=mask, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()
    swept = reverse_sweep(cell, inputs, cotangent, mask_TRB=mask)
    torch.testing.assert_close(unrolled.adjoint_norm_STRB, swept.norms(), **CLOSE)
    torch.testing.assert_close(inputs.grad, swept.input_TRBI, **CLOSE)
    for name, parameter in cell.named_parameters():
        torch.testing.assert_close(
            parameter.grad, swept.parameters[name], **CLOSE, msg=lambda text, name=name: f"{name}: {text}"
        )


def pass_finite_differences(cell: Cell) -> None:
    """Of a cell in float64 with two replicas and two inputs: every parameter's, and the inputs'."""
    names, parameters = zip(*cell.named_parameters(), strict=True)

    def outputs(inputs: Tensor, *values: Tensor) -> Tensor:
        for name, value in zip(names, values, strict=True):
            owner, _, own = name.rpartition(".")
            module = cell.get_submodule(owner)
            module._parameters.pop(own, None)
            setattr(module, own, value)
        return unroll(cell, inputs).output_KRBH

    arguments = [p.detach().clone().requires_grad_() for p in parameters]
    torch.autograd.gradcheck(outputs, (told(cell, 2, 2, 1, seed=3).requires_grad_(), *arguments))


def as_alone(cell: Subject, activation: Any, *shapes: str) -> None:
    """Outputs, gradients and adjoint norms of every replica in a population, in both dtypes, with and without mask."""
    R = 4
    for T, B, width, H in (SHAPES[shape] for shape in shapes):
        for dtype in DTYPES:
            together = draw(made(cell, activation, replicas=R, inputs=width, hidden=H), dtype=dtype)
            mask = right_aligned_mask(T, R, B) if T > 3 else None
            inputs = told(together, T, R, B, seed=1, mask=mask, dtype=dtype)
            cotangent = uniform(T, R, B, together.width, seed=2, dtype=dtype)
            expected = _everything(together, inputs, cotangent, mask)
            for r in (0, R - 1):
                one = slice(r, r + 1)
                alone = made(cell, activation, replicas=1, inputs=width, hidden=H).to(dtype)
                with torch.no_grad():
                    for mine, many in zip(alone.parameters(), together.parameters(), strict=True):
                        mine.copy_(many[one])
                found = _everything(alone, inputs[:, one], cotangent[:, one], None if mask is None else mask[:, one])
                for name, value in found.items():
                    hold_same(value, expected[name][one], f"{name} of replica {r} alone, and in a population")


def _everything(cell: Cell, inputs: Tensor, cotangent: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Outputs, gradients and adjoint norms, each with the replica axis first."""
    inputs = inputs.clone().requires_grad_()
    unrolled = unroll(cell, inputs, mask_TRB=mask, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    assert inputs.grad is not None
    gradients = {name: p.grad for name, p in cell.named_parameters() if p.grad is not None}
    return {
        **gradients,
        "output": unrolled.output_KRBH.transpose(0, 1).detach(),
        "adjoint norm": unrolled.adjoint_norm_STRB.permute(2, 0, 1, 3),
        "input": inputs.grad.transpose(0, 1),
    }
