"""The transformer against torch.nn's encoder layer, what it may look at, its adjoints, padding, and what it refuses."""

import math
from itertools import product

import pytest
import torch
from helpers import rnnlab
from support import DTYPES, component, composed, right_aligned_mask, uniform
from torch import Tensor, nn

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.block import Block, sinusoids
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.build import build
from rnnlab.cells.cell import Cell
from rnnlab.memory.kept import kept_bytes
from rnnlab.schema import validate
from rnnlab.tasks.task import stack

T, R, B, I, H, HEADS = 9, 2, 5, 3, 8, 2
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
POSITIONS = ["none", "sinusoidal", "learned"]


def net(
    *, replicas: int = R, steps: int = T, width: int = H, dtype: torch.dtype = torch.float64, **changes: object
) -> Model:
    """With every parameter drawn, gains near 1; replica r is the same in every population."""

    def no_cell(inputs: int) -> Cell:
        raise AssertionError("it asks for a cell")

    changes = {"layers": 2, "heads": HEADS, "causal": True, "positions": "sinusoidal", "widening": 3, **changes}
    sizes = Sizes(replicas=replicas, inputs=I, outputs=2, hidden=width, activation=lambda units: nn.ReLU())
    model = Model(component("architecture", "transformer", {"steps": steps}, **changes), no_cell, sizes)
    with torch.no_grad():
        for k, (name, parameter) in enumerate(model.named_parameters()):
            drawn = uniform(8, *parameter.shape[1:], seed=k, bound=0.6)[:replicas]
            parameter.copy_(drawn + 1 if name.endswith("gain") else drawn)
    return model.to(dtype)


def outputs(model: Model, inputs: Tensor, mask: Tensor | None = None, **options: object) -> Tensor:
    passage = Passage(autograd_engine("tests"), **{"scored": len(inputs), "mask_TRB": mask, **options})
    return model.architecture.run(model.parts, inputs, passage)


def inner(model: Model) -> list[Tensor]:
    """The parameters of its parts."""
    return [p for name, p in model.named_parameters() if "_output" not in name]


def twin(block: Block, replica: int) -> nn.TransformerEncoderLayer:
    """torch.nn's layer with the weights of one replica."""
    module = nn.TransformerEncoderLayer(
        H, HEADS, dim_feedforward=block.wide, dropout=0.0, activation="relu", norm_first=True, dtype=torch.float64
    )
    attention = module.self_attn
    pairs = [
        (attention.in_proj_weight, block.heard.weight, attention.in_proj_bias, block.heard.bias),
        (attention.out_proj.weight, block.joined.weight, attention.out_proj.bias, block.joined.bias),
        (module.linear1.weight, block.widened.weight, module.linear1.bias, block.widened.bias),
        (module.linear2.weight, block.narrowed.weight, module.linear2.bias, block.narrowed.bias),
        (module.norm1.weight, block.attention_norm.gain, module.norm1.bias, block.attention_norm.bias),
        (module.norm2.weight, block.feedforward_norm.gain, module.norm2.bias, block.feedforward_norm.bias),
    ]
    with torch.no_grad():
        for weight, ours, bias, our_bias in pairs:
            weight.copy_(ours[replica].T if weight.dim() == 2 else ours[replica, 0])
            bias.copy_(our_bias[replica, 0])
    return module


@pytest.mark.technique("architecture=transformer")
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
def test_values_and_gradients_are_those_of_torch_s_encoder_layers(causal: bool, masked: bool) -> None:
    model, inputs = net(causal=causal, positions="none"), uniform(T, R, B, I, seed=1).requires_grad_()
    mask = right_aligned_mask(T, R, B)
    there = mask if masked else torch.ones_like(mask)
    cotangent = uniform(T, R, B, H, seed=2) * there.unsqueeze(-1)
    found = outputs(model, inputs, mask if masked else None)
    (found * cotangent).sum().backward()
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
    for r in range(R):
        layers, given = [twin(model.layer1, r), twin(model.layer2, r)], inputs[:, r].detach().clone().requires_grad_()
        x = given @ model.embedding.weight[r].detach() + model.embedding.bias[r].detach()
        for layer in layers:
            # A whole row of padding is NaN there: each example by itself, without its padding.
            live = [there[:, r, b] for b in range(B)]
            seen = [layer(x[on, b : b + 1], None if hidden is None else hidden[on][:, on]) for b, on in enumerate(live)]
            x = torch.cat([torch.cat([y.new_zeros(T - len(y), 1, H), y]) for y in seen], dim=1)
        last = nn.functional.layer_norm(x, (H,), model.norm.gain[r, 0].detach(), model.norm.bias[r, 0].detach())
        torch.testing.assert_close(found[:, r][there[:, r]], last[there[:, r]], **CLOSE)
        (last * cotangent[:, r]).sum().backward()
        torch.testing.assert_close(inputs.grad[:, r], given.grad, **CLOSE)
        for block, layer in ((model.layer1, layers[0]), (model.layer2, layers[1])):
            theirs = dict(layer.named_parameters())
            for name, ours in (
                ("self_attn.in_proj", block.heard),
                ("self_attn.out_proj.", block.joined),
                ("linear1.", block.widened),
                ("linear2.", block.narrowed),
            ):
                joint = "_" if name.endswith("proj") else ""
                torch.testing.assert_close(ours.weight.grad[r], theirs[f"{name}{joint}weight"].grad.T, **CLOSE)
                torch.testing.assert_close(ours.bias.grad[r, 0], theirs[f"{name}{joint}bias"].grad, **CLOSE)
            for name, ours in (("norm1", block.attention_norm), ("norm2", block.feedforward_norm)):
                torch.testing.assert_close(ours.gain.grad[r, 0], theirs[f"{name}.weight"].grad, **CLOSE)
                torch.testing.assert_close(ours.bias.grad[r, 0], theirs[f"{name}.bias"].grad, **CLOSE)


@pytest.mark.technique("architecture=transformer")
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize(("causal", "positions"), [*product([True, False], POSITIONS)])
def test_a_causal_net_sees_nothing_to_come(causal: bool, positions: str, masked: bool) -> None:
    """d out_t / d x_s is 0, exactly, for every s > t; and it is not, for every other."""
    model = net(causal=causal, positions=positions)
    mask = (torch.arange(T) >= 2).view(T, 1, 1).expand(T, R, 1) if masked else None

    def of(inputs: Tensor) -> Tensor:
        return outputs(model, inputs, mask)

    derivative = torch.autograd.functional.jacobian(of, uniform(T, R, 1, I, seed=1))
    depends_TT = derivative.abs().amax(dim=(1, 2, 3, 5, 6, 7)) > 0
    expected = torch.ones(T, T, dtype=torch.bool)
    if causal:
        expected = expected.tril()
    if masked:  # nobody sees padding, and what is computed there nobody sees
        expected[:, :2], depends_TT = False, depends_TT[2:]
    assert torch.equal(depends_TT, expected[2 * masked :])


@pytest.mark.parametrize(("layers", "causal"), [(1, True), (1, False), (3, False)])
def test_without_positions_the_order_of_the_past_is_nothing(layers: int, causal: bool) -> None:
    order = [*torch.randperm(T - 1, generator=torch.Generator().manual_seed(0)).tolist(), T - 1]
    inputs = uniform(T, R, B, I, seed=1)
    for positions in POSITIONS:
        model = net(layers=layers, causal=causal, positions=positions)
        before, after = (outputs(model, x)[-1] for x in (inputs, inputs[order]))
        assert torch.allclose(before, after, rtol=0, atol=1e-12) == (positions == "none")


def test_causal_layers_tell_the_order_by_themselves_from_the_second_on() -> None:
    order = [3, 1, 0, 2, *range(4, T)]
    model, inputs = net(layers=2, positions="none"), uniform(T, R, B, I, seed=1)
    assert not torch.allclose(outputs(model, inputs)[-1], outputs(model, inputs[order])[-1])


@pytest.mark.technique("architecture=transformer")
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("scored", [1, T])
def test_the_adjoints_recorded_are_autograd_s_own(scored: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, mask = net(layers=3), uniform(T, R, B, I, seed=1), right_aligned_mask(T, R, B)
    cotangent = uniform(scored, R, B, H, seed=2)
    passage = Passage(autograd_engine("tests"), scored=scored, mask_TRB=mask if masked else None, record=True)
    watch, watched = passage.watch, {}

    def remembered(name: str, value: Tensor) -> Tensor:
        watched[name] = watch(name, value)
        return watched[name]

    monkeypatch.setattr(passage, "watch", remembered)
    loss = (model.architecture.run(model.parts, inputs, passage) * cotangent).sum()
    own = torch.autograd.grad(loss, list(watched.values()), retain_graph=True)
    loss.backward()
    assert model.states == tuple(f"{name}.h" for name in watched) == ("embedding.h", "layer1.h", "layer2.h", "layer3.h")
    for recorded, derivative in zip(passage.recorded(), own, strict=True):
        torch.testing.assert_close(recorded.norm_STRB[0], derivative.norm(dim=-1), **CLOSE)
        if masked and scored == 1:
            assert (recorded.norm_STRB[0][~mask] == 0).all()
    if scored == 1:  # above the last attention a step is by itself
        assert (passage.recorded()[-1].norm_STRB[0, :-1] == 0).all()
        assert (passage.recorded()[-2].norm_STRB[0, :-1].masked_select(mask[:-1] | (not masked)) > 0).all()


def decades(*settings: str) -> dict[str, Tensor]:
    """How much the adjoint at initialisation falls from the last quarter of the lags to the first, by state."""
    experiment = build(validate(composed(*settings, "task=adding", "task.length=200", "seeds=6", "dtype=float64")))
    seeds = experiment.config.seeds
    model, batch = experiment.model(seeds), stack([experiment.task.training_batch(s, 1) for s in seeds])
    batch = batch.to(experiment.device, experiment.dtype)
    passage = experiment.passage(batch, record=True)
    experiment.task.losses(model(batch, passage), batch).sum().backward()
    of = {}
    for recorded in passage.recorded():
        norm_TR = recorded.norm_STRB[0].mean(-1)
        of[recorded.prefix] = (norm_TR[-51:-1].mean(0) / norm_TR[:50].mean(0)).log10()
    return of


def test_at_initialisation_its_adjoints_do_not_fall_with_the_lag() -> None:
    """Over 150 steps by less than a quarter of a decade in six seeds; an Elman net's by more than three in the median.

    In causal layers they rise with it, by up to two thirds: the earlier a step, the more others see it.
    """
    transformer = decades("architecture=transformer", "cell=none", "cell.hidden=32", "architecture.layers=3")
    for name in ("embedding", "layer1", "layer2"):
        assert (transformer[f"{name}."] < 1 / 4).all()
        assert (transformer[f"{name}."] > -2 / 3).all()
    (elman,) = decades("cell=rnn", "cell.hidden=32", "initialiser=xavier").values()
    assert elman.median() > 3


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
def test_padding_changes_nothing(causal: bool, positions: str) -> None:
    """Not even NaN in it: values, and gradients of inputs and of every parameter, are the short sequence's alone."""
    model, inputs, mask = (
        net(causal=causal, positions=positions),
        uniform(T, R, B, I, seed=1),
        right_aligned_mask(T, R, B),
    )
    mask[:-1, 0, 0] = False  # an example of one step
    cotangent = uniform(T, R, B, H, seed=2) * mask.unsqueeze(-1)
    padded, leaves = inputs.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_(), inner(model)
    found = outputs(model, padded, mask)
    assert found.isfinite().all()
    of_input, *of_parameters = torch.autograd.grad((found * cotangent).sum(), [padded, *leaves])
    assert (of_input[~mask] == 0).all()
    together = [torch.zeros_like(leaf) for leaf in leaves]
    for r, b in product(range(R), range(B)):
        live = mask[:, r, b]
        own = inputs[live][:, r, b].view(-1, 1, 1, I).expand(-1, R, 1, I).clone().requires_grad_()
        alone = outputs(model, own)
        torch.testing.assert_close(found[live, r, b], alone[:, r, 0], **CLOSE)
        of_own, *rest = torch.autograd.grad((alone[:, r, 0] * cotangent[live, r, b]).sum(), [own, *leaves])
        torch.testing.assert_close(of_input[live, r, b], of_own[:, r, 0], **CLOSE)
        together = [sum_of + part for sum_of, part in zip(together, rest, strict=True)]
    for ours, theirs in zip(of_parameters, together, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("steps", [1, 9, 70, 200])
def test_a_replica_is_what_it_is_alone_to_the_bit(steps: int, dtype: torch.dtype, masked: bool) -> None:
    for width, causal, positions in ((8, True, "learned"), (5, False, "learned"), (32, True, "sinusoidal")):
        given = {"steps": steps, "width": width, "causal": causal, "positions": positions, "dtype": dtype}
        inputs, cotangent = (uniform(steps, 4, 3, n, seed=n, dtype=dtype) for n in (I, width))
        mask = right_aligned_mask(steps, 4, 3) if masked else None
        together = _everything(net(replicas=4, **given), inputs, cotangent, mask)
        for r in (0, 3):
            one, alone = slice(r, r + 1), net(replicas=1, **given)
            with torch.no_grad():
                for mine, many in zip(alone.parameters(), net(replicas=4, **given).parameters(), strict=True):
                    mine.copy_(many[one])
            found = _everything(alone, inputs[:, one], cotangent[:, one], None if mask is None else mask[:, one])
            for name, value in found.items():
                assert torch.equal(value, together[name][one]), name


def _everything(model: Model, inputs: Tensor, cotangent: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Outputs, gradients and adjoint norms, each with the replica axis first."""
    inputs = inputs.clone().requires_grad_()
    passage = Passage(autograd_engine("tests"), scored=len(inputs), mask_TRB=mask, record=True)
    output = model.architecture.run(model.parts, inputs, passage)
    (output * cotangent).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {one.prefix: one.norm_STRB.permute(2, 0, 1, 3) for one in passage.recorded()}
    return {**found, **norms, "output": output.transpose(0, 1).detach(), "input": inputs.grad.transpose(0, 1)}


def test_positions_are_waves_of_growing_length_or_rows_of_a_table() -> None:
    table = sinusoids(50, 7)
    for t, i in ((0, 0), (3, 0), (3, 1), (49, 4), (49, 6)):
        angle = t / 10_000 ** (2 * (i // 2) / 7)
        assert table[t, i].item() == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-12)
    inputs, mask = uniform(T, R, B, I, seed=1), right_aligned_mask(T, R, B)
    model = net(positions="learned")
    plain, embedding = net(positions="none").embedding, model.embedding
    for given in (None, mask):
        found = embedding.at(given, inputs).expand(R, B, T, H)
        for r, b in product(range(R), range(B)):
            first = 0 if given is None else int(given[:, r, b].byte().argmax())
            assert torch.equal(found[r, b, first:], embedding.positions[r, : T - first])
    assert plain.at(mask, inputs) == 0
    torch.testing.assert_close(model.embedding.at(None, inputs[:4]), embedding.positions[:, :4].unsqueeze(1))


def test_it_is_said_how_much_it_keeps_at_least() -> None:
    """A bound, of which it keeps less than twice."""
    model = net(replicas=1, steps=64, width=32, widening=4, heads=4, dtype=torch.float32)
    inputs = uniform(64, 1, 8, I, seed=1, dtype=torch.float32)
    kept = kept_bytes(lambda: outputs(model, inputs), model.parameters())
    told = 4 * sum(part.numbers_kept(64 * 8) for name, part in model.parts.items() if name.startswith("layer"))
    assert told <= kept <= 2 * told


CONTROL = ["architecture=transformer", "cell=none", "cell.hidden=8", "task.length=6", "seeds=1"]


@pytest.mark.technique("cell=none")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["architecture=single"], "cell=none: not allowed. architecture=single is made of cells"),
        (["cell=lstm"], "architecture=transformer: not allowed. It has no cells, and cell=lstm would do nothing"),
        (["adjoint=truncate"], "cell=none: not allowed. adjoint=truncate acts on the steps of cells"),
        (["regulariser=activation"], "cell=none: not allowed. regulariser=activation acts on the steps of cells"),
        (["dropout=zoneout"], "dropout=zoneout: not allowed. It keeps states; cell=none has none"),
        (["dropout=non_recurrent"], "dropout.inputs_rate=0.2: not allowed."),
        (["dropout=variational"], "dropout=variational: not allowed."),
        (["parametrisation=cayley"], "parametrisation=cayley: not allowed."),
        (["optimiser=muon"], "optimiser=muon: not allowed."),
        (["optimiser.recurrent_lr_factor=0.5"], "optimiser.recurrent_lr_factor=0.5: not allowed."),
        (["bias_initialiser=chrono"], "bias_initialiser=chrono: not allowed."),
        (["engine=fused"], "engine=fused: not allowed here, because cell=none takes no steps. Allowed: auto, autograd"),
        (["engine=scan"], "engine=scan: not allowed here, because cell=none takes no steps. Allowed: auto, autograd"),
        (["+probe@probes.jacobian=jacobian"], "probes.jacobian: not allowed. cell=none takes no steps"),
        (["architecture.layers=1", "architecture.causal=false"], "architecture.causal=False: not allowed."),
        (["cell.hidden=1"], "architecture=transformer: not allowed. It normalises"),
    ],
)
def test_what_would_do_nothing_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rnnlab(*CONTROL, *arguments) == 2
    assert capsys.readouterr().err.startswith(f"rnnlab: {told}")


def test_what_makes_sense_is_built_and_what_draws_nothing_is_remarked() -> None:
    said: list[str] = []
    settings = [
        "dropout=non_recurrent",
        "dropout.inputs_rate=0",
        "match_parameters=5000",
        "architecture.heads=3",
        "probes=full",
    ]
    experiment = build(validate(composed(*CONTROL, *settings)), say=said.append)
    assert set(experiment.probes) == {"adjoint", "attribution", "updates"}
    assert any("draws nothing here: cell=none has no recurrent matrices" in text for text in said)
    assert any(text.startswith("match_parameters=5000: cell.hidden=") for text in said)
    assert experiment.engine.name == "autograd"
