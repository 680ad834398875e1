"""Stacked and bidirectional nets against torch.nn's and against a plain autograd computation, in float64."""

import copy
from collections.abc import Callable

import pytest
import torch
from support import component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor, nn

from rnnlab.adjoints.rule import AdjointRule
from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.architectures.torch_nn import load_torch, to_torch
from rnnlab.bptt.engine import Engine, autograd_engine, scan_engine
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.passage import Passage, Update, adjoint_norms
from rnnlab.cells.cell import Cell
from rnnlab.cli import run_command_line

T, R, B, I, H = 7, 2, 3, 3, 4
SHAPES = [("stacked", {"layers": 1}), ("stacked", {"layers": 3})]
SHAPES += [("bidirectional", {"layers": layers, "read": "steps"}) for layers in (1, 2)]
TWINS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
ENGINES = {"autograd": autograd_engine("tests"), "fused": Engine("fused", "tests", 1, fused_unroll)}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
CELLS_BY_ENGINE = [("lstm", "autograd"), ("lstm", "fused"), ("gru", "fused"), ("lru", "scan")]
each_shape = pytest.mark.parametrize(("option", "changes"), SHAPES, ids=lambda x: str(x).replace("'", ""))


def net(option: str, cell: str, *, activation: str = "tanh", outputs: int = 2, **changes: object) -> Model:
    """With every parameter drawn."""
    made: list[Cell] = []

    def draw(inputs: int) -> Cell:
        made.append(drawn_cell(cell, activation, replicas=R, inputs=inputs, hidden=H, seed=len(made)))
        return made[-1]

    model = Model(
        component("architecture", option, **changes), draw, Sizes(replicas=R, inputs=I, outputs=outputs, hidden=H)
    ).double()
    with torch.no_grad():
        model.weight_output.copy_(uniform(*model.weight_output.shape, seed=77))
    return model


def outputs(model: Model, inputs: Tensor, engine: Engine, mask: Tensor | None = None, **options: object) -> Tensor:
    passage = Passage(engine, scored=len(inputs), mask_TRB=mask, **options)
    return model.architecture.run(model.parts, inputs, passage)


@each_shape
@pytest.mark.technique("architecture=stacked", "architecture=bidirectional")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", TWINS)
def test_outputs_and_gradients_are_those_of_torch_nn(cell: str, engine: str, option: str, changes: dict) -> None:
    model, inputs = net(option, cell, **changes), uniform(T, R, B, I, seed=1).requires_grad_()
    cotangent = uniform(T, R, B, model.architecture.width(model.parts), seed=2)
    found = outputs(model, inputs, ENGINES[engine])
    (found * cotangent).sum().backward()
    for r in range(R):
        module, given = to_torch(model, r), inputs[:, r].detach().clone().requires_grad_()
        expected = module(given)[0]
        torch.testing.assert_close(found[:, r], expected, **CLOSE)
        (expected * cotangent[:, r]).sum().backward()
        torch.testing.assert_close(inputs.grad[:, r], given.grad, **CLOSE)
        gradients = copy.deepcopy(module)
        with torch.no_grad():
            for into, of in zip(gradients.parameters(), module.parameters(), strict=True):
                into.copy_(of.grad)
        theirs = net(option, cell, **changes)
        load_torch(theirs, 0, gradients)
        for name, mine in model.cells.items():
            for leaf in ("weight_input", "weight_recurrent"):
                torch.testing.assert_close(
                    getattr(mine, leaf).grad[r], getattr(theirs.cells[name], leaf)[0].detach(), **CLOSE
                )


@each_shape
@pytest.mark.parametrize("cell", TWINS)
def test_weights_go_to_torch_nn_and_back(cell: str, option: str, changes: dict) -> None:
    model, empty = net(option, cell, **changes), net(option, cell, **changes)
    with torch.no_grad():
        for parameter in empty.parameters():
            parameter.zero_()
    for r in range(R):
        load_torch(empty, r, to_torch(model, r))
    for name, of in model.cells.items():
        for ours, theirs in zip(of.parameters(), empty.cells[name].parameters(), strict=True):
            torch.testing.assert_close(theirs, ours, **CLOSE)
    other = {"layers": 2, "read": "steps"} if option == "stacked" else {"layers": 4}
    wrong = net("bidirectional" if option == "stacked" else "stacked", cell, **other)
    with pytest.raises(ValueError, match="layers in"):
        load_torch(wrong, 0, to_torch(model, 0))


def states_of(model: Model, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """What the readout sees and every state component of every call, step by step as leaves of plain autograd."""
    kept: list[list[Tensor]] = []

    def unroll(cell: Cell, x: Tensor, *, mask_TRB: Tensor | None, **_: object) -> object:
        from rnnlab.bptt.unroll import Unrolled

        state, made, out = cell.zero_state(x[0]), [], []
        for t in range(len(x)):
            output, new = cell.step(x[t], state)
            made.append(new)
            live = torch.ones_like(new[0][..., :1], dtype=torch.bool) if mask_TRB is None else mask_TRB[t].unsqueeze(-1)
            state = tuple(torch.where(live, n, old) for n, old in zip(new, state, strict=True))
            out.append(state[0] if output is new[0] else output)
        kept.extend([list(parts) for parts in zip(*made, strict=True)])
        return Unrolled(torch.stack(out), state, None)

    found = outputs(model, inputs, Engine("autograd", "tests", 1, unroll), mask)
    return found, kept


@each_shape
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize(("cell", "engine"), CELLS_BY_ENGINE)
def test_every_call_s_adjoints_are_total_derivatives_in_time_and_depth(
    cell: str, engine: str, masked: bool, option: str, changes: dict
) -> None:
    engines = {**ENGINES, "scan": scan_engine("tests")}
    model, inputs = (
        net(option, cell, activation="identity" if cell == "lru" else "tanh", **changes),
        uniform(T, R, B, I, seed=1),
    )
    mask = right_aligned_mask(T, R, B) if masked else None
    cotangent = uniform(T, R, B, model.architecture.width(model.parts), seed=2)
    passage = Passage(engines[engine], scored=T, mask_TRB=mask, record=True)
    (model.architecture.run(model.parts, inputs, passage) * cotangent).sum().backward()
    found, kept = states_of(model, inputs, mask)
    loss, norms = (found * cotangent).sum(), []
    for call, k in zip(passage.calls, range(0, len(kept), len(kept) // len(passage.calls)), strict=True):
        for component_T in kept[k : k + len(call.cell.states)]:
            derivative = torch.autograd.grad(loss, component_T, retain_graph=True, allow_unused=True)
            norm = torch.stack([torch.zeros(R, B).double() if d is None else d.norm(dim=-1) for d in derivative])
            there = torch.ones(T, R, B, dtype=torch.bool) if call.mask_TRB is None else call.mask_TRB
            norms.append(((norm * there).sum(-1) / there.sum(-1)).T)
    torch.testing.assert_close(adjoint_norms(passage.recorded()), torch.stack(norms, dim=1), equal_nan=True, **CLOSE)


@each_shape
@pytest.mark.parametrize("engine", ENGINES)
def test_padding_changes_nothing(engine: str, option: str, changes: dict) -> None:
    """A masked example is the short sequence alone, in both directions: values and gradients."""
    model, inputs, mask = net(option, "lstm", **changes), uniform(T, R, B, I, seed=1), right_aligned_mask(T, R, B)
    padded = inputs.masked_fill(~mask.unsqueeze(-1), 1e3).requires_grad_()
    found = outputs(model, padded, ENGINES[engine], mask)
    (found * mask.unsqueeze(-1)).sum().backward()
    assert padded.grad is not None
    assert (padded.grad[~mask] == 0).all()
    for r in range(R):
        for b in range(B):
            own = inputs[mask[:, r, b], :, b : b + 1]
            alone = outputs(model, own, ENGINES[engine])
            torch.testing.assert_close(found[mask[:, r, b], r, b], alone[:, r, 0], **CLOSE)


class _Cut(AdjointRule):
    def cuts(self, step: int) -> bool:
        return step == 4


def test_a_rule_acts_in_every_call() -> None:
    model, inputs = net("stacked", "rnn", layers=2), uniform(T, R, B, I, seed=1).requires_grad_()
    passage = Passage(ENGINES["autograd"], scored=1, rule=_Cut(), update=Update([0, 1], 1), record=True)
    model.architecture.run(model.parts, inputs, passage)[-1].sum().backward()
    assert inputs.grad is not None
    assert (inputs.grad[:4] == 0).all()
    assert (inputs.grad[4:] != 0).all()
    for call in passage.calls:
        norm_STRB = call.unrolled.adjoint_norm_STRB
        assert norm_STRB is not None
        assert (norm_STRB[:, :4] == 0).all()


def test_ends_are_each_cell_s_last_output() -> None:
    model = net("bidirectional", "gru", layers=1, read="ends")
    inputs = uniform(T, R, B, I, seed=1)
    whole = net("bidirectional", "gru", layers=1, read="steps")
    every, ends = (outputs(m, inputs, ENGINES["autograd"]) for m in (whole, model))
    assert len(ends) == 1
    torch.testing.assert_close(ends[0, ..., :H], every[-1, ..., :H], **CLOSE)
    torch.testing.assert_close(ends[0, ..., H:], every[0, ..., H:], **CLOSE)


def test_dropout_between_layers_is_on_what_each_layer_reads() -> None:
    model, inputs = net("stacked", "lstm", layers=2), uniform(T, R, B, I, seed=1)
    seen: list[Tensor] = []

    def watching(unroll: Callable[..., object]) -> Callable[..., object]:
        def call(cell: Cell, x: Tensor, **options: object) -> object:
            seen.append(x.detach())
            return unroll(cell, x, **options)

        return call

    engine = ENGINES["autograd"]
    engine = Engine(engine.name, engine.why, 1, watching(engine.unroll))
    dropout = component("dropout", "non_recurrent", inputs_rate=0.5, outputs_rate=0.5)
    passage = Passage(engine, scored=T, dropout=dropout, update=Update([0, 1], 1))
    output = model.architecture.run(model.parts, inputs, passage)
    first, second = passage.calls
    for kept, whole in ((seen[0], inputs), (seen[1], first.unrolled.output_KRBH.detach())):
        assert ((kept == 0) | torch.isclose(kept, 2 * whole)).all()
        assert 0.2 < (kept == 0).double().mean() < 0.8
    assert torch.equal(second.input_TRBI, first.unrolled.output_KRBH)
    assert 0.2 < (passage.leave(output) == 0).double().mean() < 0.8
    resting = Passage(engine, scored=T, dropout=dropout)
    torch.testing.assert_close(
        model.architecture.run(model.parts, inputs, resting), outputs(model, inputs, ENGINES["autograd"])
    )


READ_AHEAD = (["bidirectional"], ["encoder_decoder"], ["transformer", "cell=none", "architecture.causal=false"])


@pytest.mark.parametrize("task", ["image_density", "bouncing_digits", "words"])
@pytest.mark.parametrize("wired", READ_AHEAD, ids=lambda wired: wired[0])
def test_who_reads_ahead_is_not_asked_for_the_next_input(
    wired: list[str], task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line([f"task={task}", f"architecture={wired[0]}", *wired[1:]]) == 2
    assert "Its next input is its answer" in capsys.readouterr().err
