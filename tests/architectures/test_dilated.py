"""The dilated net against its own equation, a plain net on the sequence reshaped, and the slope that it promises."""

import pytest
import torch
from support import component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine, autograd_engine
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.passage import Passage
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell

T, R, B, I, H = 13, 2, 3, 3, 4
ENGINES = {"autograd": autograd_engine("tests"), "fused": Engine("fused", "tests", 1, fused_unroll)}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def net(cell: str = "lstm", **changes: int) -> Model:
    made: list[Cell] = []

    def draw(inputs: int) -> Cell:
        made.append(drawn_cell(cell, replicas=R, inputs=inputs, hidden=H, seed=len(made)))
        return made[-1]

    architecture = component("architecture", "dilated", **changes)
    model = Model(architecture, draw, Sizes(replicas=R, inputs=I, outputs=2, hidden=H)).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("fuse"):
                parameter.copy_(uniform(*parameter.shape, seed=len(name)))
    return model


def by_its_equation(model: Model, value: Tensor, mask: Tensor | None) -> Tensor:
    """h_t = f(x_t, h_{t-d}), step by step; a step that an example has not leaves what was d steps ago."""
    architecture = model.architecture
    for k, cell in enumerate(model.cells.values()):
        d, states, outputs = architecture.first * architecture.base**k, [], []
        for t in range(T):
            before = states[t - d] if t >= d else cell.zero_state(value[0])
            output, new = cell.step(value[t], before)
            if mask is not None:
                live = mask[t].unsqueeze(-1)
                new = tuple(torch.where(live, n, old) for n, old in zip(new, before, strict=True))
                output = new[0]
            states.append(new)
            outputs.append(output)
        value = torch.stack(outputs)
    if architecture.first > 1:
        weight = model.fuse.weight.unflatten(1, (architecture.first, H))
        steps = [value[max(0, t - architecture.first + 1) : t + 1] for t in range(T)]
        value = torch.stack([sum(h @ weight[:, j - len(s)] for j, h in enumerate(s)) + model.fuse.bias for s in steps])
    return value


@pytest.mark.technique("architecture=dilated")
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "changes", [{"layers": 3, "base": 2, "first": 1}, {"layers": 2, "base": 3, "first": 2}], ids=str
)
def test_outputs_and_gradients_are_those_of_its_equation(changes: dict[str, int], engine: str, masked: bool) -> None:
    model, inputs = net(**changes), uniform(T, R, B, I, seed=1).requires_grad_()
    mask = right_aligned_mask(T, R, B) if masked else None
    cotangent = uniform(T, R, B, H, seed=2)
    passage = Passage(ENGINES[engine], scored=T, mask_TRB=mask)
    found = model.architecture.run(model.parts, inputs, passage)
    expected = by_its_equation(model, inputs, mask)
    leaves = [inputs, *(p for n, p in model.named_parameters() if "_output" not in n)]
    torch.testing.assert_close(found, expected, **CLOSE)
    gradients = (torch.autograd.grad((out * cotangent).sum(), leaves) for out in (found, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("kept", [1, 3, T, None])
@pytest.mark.parametrize("engine", ENGINES)
def test_dilation_s_is_a_plain_net_on_the_sequence_reshaped(engine: str, kept: int | None) -> None:
    """To (T/s, s B), as the paper's section 3; adjoints too, and whichever outputs are wanted."""
    s, steps = 4, 12
    cell, inputs = drawn_cell("gru", replicas=R, inputs=I, hidden=H), uniform(steps, R, B, I, seed=1)
    kept_steps = steps if kept is None else min(kept, steps)
    cotangent = uniform(steps, R, B, H, seed=2)
    cotangent[: steps - kept_steps] = 0
    passage = Passage(ENGINES[engine], scored=1, record=True)
    out = passage("only", cell, inputs, dilation=s, last=kept and kept_steps).output_KRBH
    assert len(out) == kept_steps
    (out * cotangent[-kept_steps:]).sum().backward()
    ours = {name: p.grad.clone() for name, p in cell.named_parameters()}
    cell.zero_grad()

    def reshaped(value: Tensor) -> Tensor:
        return torch.cat([value[j::s] for j in range(s)], dim=2)

    plain = unroll(cell, reshaped(inputs), record=True)
    (plain.output_KRBH * reshaped(cotangent)).sum().backward()
    for name, p in cell.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, **CLOSE)
    (recorded,) = passage.recorded()
    for t in range(steps):
        beside = slice(t % s * B, t % s * B + B)
        torch.testing.assert_close(recorded.norm_STRB[0, t], plain.adjoint_norm_STRB[0, t // s, :, beside], **CLOSE)


def test_the_adjoint_falls_with_one_over_the_dilation_of_a_plain_net_s_slope() -> None:
    s, rate = 4, 0.8
    cell = drawn_cell("rnn", "identity", replicas=1, inputs=I, hidden=H)
    with torch.no_grad():
        cell.weight_recurrent.copy_(rate * torch.linalg.qr(uniform(H, H, seed=3))[0])
    passage = Passage(ENGINES["autograd"], scored=1, record=True)
    out = passage("only", cell, uniform(T, 1, 1, I, seed=1), dilation=s, last=1).output_KRBH
    (out[..., :1]).sum().backward()
    norm_T = passage.recorded()[0].norm_STRB[0, :, 0, 0]
    on_the_way = torch.arange(T - 1, -1, -s)
    expected = torch.zeros(T, dtype=torch.float64)
    expected[on_the_way] = rate ** torch.arange(len(on_the_way), dtype=torch.float64)
    torch.testing.assert_close(norm_T, expected, **CLOSE)


def test_a_short_sequence_is_told_to_be_too_short(capsys: pytest.CaptureFixture[str]) -> None:
    from helpers import rnnlab

    assert rnnlab("architecture=dilated", "architecture.layers=5", "task.length=16") == 2
    assert (
        "architecture.layers=5: not allowed. The last layer would look first base^(layers-1) = 16 steps back"
        in capsys.readouterr().err
    )
