"""Layers on fixed time scales: their equation step by step, their reductions, and the slope that they promise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import adjoints, metrics, only_run, rnnlab
from support import component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine, autograd_engine
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.passage import Passage
from rnnlab.bptt.ticks import held, needed, ticks
from rnnlab.cells.cell import Cell
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.report.__main__ import main as report

T, R, B, I, H = 13, 2, 3, 3, 4
ENGINES = {"autograd": autograd_engine("tests"), "fused": Engine("fused", "tests", 1, fused_unroll)}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def net(name: str = "hierarchical", cell: str = "lstm", activation: str = "tanh", **changes: int) -> Model:
    made: list[Cell] = []

    def draw(inputs: int) -> Cell:
        made.append(drawn_cell(cell, activation, replicas=R, inputs=inputs, hidden=H, seed=len(made)))
        return made[-1]

    return Model(
        component("architecture", name, **changes), draw, Sizes(replicas=R, inputs=I, outputs=2, hidden=H)
    ).double()


def by_its_equation(model: Model, value: Tensor, mask: Tensor | None) -> Tensor:
    """All layers at every step of the sequence: one that has no tick stays as it is."""
    every, cells, steps = model.architecture.every, list(model.cells.values()), len(value)
    states = [cell.zero_state(value.new_zeros(R, B, cell.inputs)) for cell in cells]
    seen = []
    for t in range(steps):
        below = value[t]
        for k, cell in enumerate(cells):
            if (steps - 1 - t) % every**k == 0:
                new = cell.step(below, states[k])[1]
                live = torch.ones(R, B, 1, dtype=torch.bool) if mask is None else mask[t].unsqueeze(-1)
                states[k] = tuple(torch.where(live, n, old) for n, old in zip(new, states[k], strict=True))
            below = states[k][0]
        seen.append(torch.cat([state[0] for state in states], dim=-1))
    return torch.stack(seen)


def gradients(out: Tensor, cotangent: Tensor, model: Model, inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [inputs, *(p for cell in model.cells.values() for p in cell.parameters())]
    return torch.autograd.grad((out * cotangent).sum(), leaves)


@pytest.mark.technique("architecture=hierarchical")
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("layers", "every", "last"), [(3, 2, None), (2, 4, 1), (3, 3, 6), (2, 12, T)])
def test_outputs_and_gradients_are_those_of_its_equation(
    layers: int, every: int, last: int | None, engine: str, masked: bool
) -> None:
    model, inputs = net(layers=layers, every=every), uniform(T, R, B, I, seed=1).requires_grad_()
    mask = right_aligned_mask(T, R, B) if masked else None
    passage = Passage(ENGINES[engine], scored=last or 1, mask_TRB=mask, whole=last is None)
    found, kept = model.architecture.run(model.parts, inputs, passage), last or T
    expected = by_its_equation(model, inputs, mask)[-kept:]
    torch.testing.assert_close(found, expected, **CLOSE)
    cotangent = uniform(kept, R, B, layers * H, seed=2)
    for ours, theirs in zip(*(gradients(o, cotangent, model, inputs) for o in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    assert [len(call.input_TRBI) for call in passage.calls] == model.architecture.steps_of(layers, T)


@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
def test_at_scale_1_it_is_stacked_layers_of_which_the_readout_sees_all(masked: bool) -> None:
    mask = right_aligned_mask(T, R, B) if masked else None
    model, inputs = net(layers=3, every=1), uniform(T, R, B, I, seed=1).requires_grad_()
    stacked, cotangent = net("stacked", layers=3), uniform(T, R, B, 3 * H, seed=2)
    passage = Passage(ENGINES["autograd"], scored=T, mask_TRB=mask)
    found = model.architecture.run(model.parts, inputs, passage)
    below = Passage(ENGINES["autograd"], scored=T, mask_TRB=mask, whole=True)
    stacked.architecture.run(stacked.parts, inputs, below)
    expected = torch.cat([call.unrolled.output_KRBH for call in below.calls], dim=-1)
    assert torch.equal(found, expected)
    ours, theirs = (gradients(o, cotangent, m, inputs) for o, m in ((found, model), (expected, stacked)))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_padding_before_a_sequence_changes_nothing() -> None:
    """However long: ticks are counted from the end."""
    model, inputs = net(layers=3, every=2), uniform(T, R, B, I, seed=1)
    cotangent, found = uniform(T, R, B, 3 * H, seed=2), []
    for padding in (0, 1, 2, 3, 6):
        x = torch.cat([uniform(padding, R, B, I, seed=5), inputs]).requires_grad_()
        mask = torch.arange(T + padding).view(-1, 1, 1).expand(-1, R, B) >= padding
        passage = Passage(ENGINES["autograd"], scored=T, mask_TRB=mask, record=True)
        out = model.architecture.run(model.parts, x, passage)[-T:]
        input_gradient, *others = gradients(out, cotangent, model, x)
        assert (input_gradient[:padding] == 0).all()
        recorded = [torch.where(one.mask_TRB, one.norm_STRB, 0.0)[:, -T:] for one in passage.recorded()]
        found.append([out, input_gradient[padding:], *others, *recorded])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("every", [2, 3, 5])
def test_the_last_step_is_a_tick_of_every_layer(every: int) -> None:
    for steps in range(1, 30):
        times = torch.arange(steps).view(-1, 1, 1, 1)
        of_three = [times, ticks(times, every), ticks(times, every**2)]
        assert all(t[-1] == steps - 1 for t in of_three)
        assert torch.equal(of_three[2], ticks(of_three[1], every))
        for wanted in range(1, steps + 1):
            kept = of_three[1][-needed(wanted, every) :] + 1
            expected = [
                max((t + 1 for t in of_three[1].flatten().tolist() if t <= at), default=0) for at in range(steps)
            ]
            assert held(kept, every, wanted).flatten().tolist() == expected[-wanted:]


@pytest.mark.parametrize("every", [2, 3])
def test_per_step_of_the_sequence_a_layer_s_adjoint_falls_with_one_over_its_scale(every: int) -> None:
    """Linear cells of orthogonal weights times a rate, and a loss of one layer at the last step: exact."""
    rate, layers, steps = 0.8, 3, 31
    model = net(cell="rnn", activation="identity", layers=layers, every=every)
    with torch.no_grad():
        for cell in model.cells.values():
            cell.weight_recurrent.copy_(rate * torch.linalg.qr(uniform(R, H, H, seed=3))[0])
    for k in range(layers):
        passage = Passage(ENGINES["autograd"], scored=1, record=True)
        out = model.architecture.run(model.parts, uniform(steps, R, B, I, seed=1), passage)
        out[-1, ..., k * H].sum().backward()
        recorded, scale = passage.recorded()[k], every**k
        back = (steps - 1 - torch.arange(steps) + scale - 1) // scale
        there = back <= (steps - 1) // scale
        expected = torch.where(there, rate ** back.double(), 0.0).view(1, -1, 1, 1).expand_as(recorded.norm_STRB)
        torch.testing.assert_close(recorded.norm_STRB, expected, **CLOSE)
        assert (recorded.mask_TRB is None) == bool(there.all())
        assert recorded.mask_TRB is None or torch.equal(recorded.mask_TRB[:, 0, 0], there)


def test_a_sequence_too_short_for_its_slowest_layer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert rnnlab("architecture=hierarchical", "architecture.layers=4", "task.length=64") == 2
    told = capsys.readouterr().err
    assert "architecture.layers=4: not allowed. The slowest layer would step every 64 steps, once in the 64" in told


def test_a_run_is_recorded_reported_and_diagnosed(in_tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weak = ["cell=rnn", "initialiser.gain=0.001", "task.length=30", "task.shortest=20", "seeds=2", "steps=8"]
    probes = ["probes=full", "probes.jacobian.first=4", "probes.lyapunov.first=4"]
    assert rnnlab("architecture=hierarchical", *weak, *probes, "name=slow", "tensorboard=true") == 0
    slow = only_run("slow")
    norm_PRST, state = adjoints(slow)["norm"], list(adjoints(slow)["state"])
    assert state == ["layer1.h", "layer2.h", "layer3.h"]
    assert norm_PRST.shape[-1] == 30
    norm_ST = norm_PRST[0, 0]
    # 29 = 13 mod 16: before, the slowest layer has no state; from there on its steps hold for sixteen.
    assert np.isnan(norm_ST[2, :13]).all()
    assert (norm_ST[2, 13:29] == norm_ST[2, 13]).all()
    assert norm_ST[2, 29] > norm_ST[2, 13]
    assert {key for row in metrics(slow) for key in row} >= {f"adjoint_slope_{name}" for name in state}
    assert diagnose([str(slow), "--examples", "3"]) == 0
    page = " ".join(capfd.readouterr().out.split())
    for k in (1, 2, 3):
        assert f"Lost in layer {k} between t=" in page
    assert "nothing decades" not in page
    assert report(["runs"]) == 0
    (drawn,) = Path("report/figures").glob("*depth_maps.png")
    assert drawn.stat().st_size > 5000
