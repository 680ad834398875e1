"""Depth over the steps and within them: residual stacks, recurrent MLPs, deep transitions; and padding, for all."""

import copy
from itertools import pairwise

import pytest
import torch
from support import component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor, nn

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.architectures.torch_nn import to_torch
from rnnlab.bptt.engine import Engine, autograd_engine
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.passage import Passage
from rnnlab.bptt.unroll import unroll
from rnnlab.cells import torch_nn
from rnnlab.cells.cell import Cell
from rnnlab.laws.cells import agree_with_the_oracle, as_alone, pass_finite_differences
from rnnlab.laws.subject import Subject

T, R, B, I, H = 7, 2, 3, 3, 4
ENGINES = {"autograd": autograd_engine("tests"), "fused": Engine("fused", "tests", 1, fused_unroll)}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
TWINS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
each_engine = pytest.mark.parametrize("engine", ENGINES)


def net(option: str, cell: str = "lstm", *, activation: str = "tanh", replicas: int = R, **changes: object) -> Model:
    """With every parameter drawn."""
    made: list[Cell] = []

    def draw(inputs: int) -> Cell:
        made.append(drawn_cell(cell, replicas=replicas, inputs=inputs, hidden=H, seed=len(made)))
        return made[-1]

    def phi(units: int) -> nn.Module:
        return component("activation", activation, {"replicas": replicas, "units": units})

    sizes = Sizes(replicas=replicas, inputs=I, outputs=2, hidden=H, activation=phi)
    model = Model(component("architecture", option, **changes), draw, sizes).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(model.named_parameters()):
            if name.startswith("between"):
                parameter.copy_(uniform(*parameter.shape, seed=100 + k))
    return model


def outputs(
    model: Model, inputs: Tensor, engine: str = "autograd", mask: Tensor | None = None, **options: object
) -> Tensor:
    passage = Passage(ENGINES[engine], **{"scored": len(inputs), "mask_TRB": mask, **options})
    return model.architecture.run(model.parts, inputs, passage)


def inner(model: Model) -> list[tuple[str, Tensor]]:
    """The parameters of its parts."""
    return [(name, p) for name, p in model.named_parameters() if "_output" not in name]


def gradients(of: Tensor, cotangent: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad((of * cotangent).sum(), leaves)


@pytest.mark.technique("architecture=stacked")
@each_engine
@pytest.mark.parametrize("cell", TWINS)
def test_a_residual_stack_is_torch_s_layers_with_their_inputs_added(cell: str, engine: str) -> None:
    """Values and gradients; and with the scored steps alone it is the end of the whole."""
    model, inputs = net("stacked", cell, layers=3, residual=True), uniform(T, R, B, I, seed=1).requires_grad_()
    cotangent = uniform(T, R, B, H, seed=2)
    found = outputs(model, inputs, engine)
    ours = dict(zip(["x", *dict(inner(model))], gradients(found, cotangent, [inputs, *dict(inner(model)).values()]),
                    strict=True))  # fmt: skip
    assert torch.equal(outputs(model, inputs, engine, scored=2), found[-2:])
    for r in range(R):
        layers = [torch_nn.to_torch(cell_k, r) for cell_k in model.cells.values()]
        given = inputs[:, r].detach().clone().requires_grad_()
        y = layers[0](given)[0]
        for layer in layers[1:]:
            y = y + layer(y)[0]
        torch.testing.assert_close(found[:, r], y, **CLOSE)
        leaves = [given, *(p for layer in layers for p in (layer.weight_ih_l0, layer.weight_hh_l0))]
        theirs = gradients(y, cotangent[:, r], leaves)
        torch.testing.assert_close(ours["x"][:, r], theirs[0], **CLOSE)
        for k, (name, of) in enumerate(model.cells.items()):
            like, (into, hidden) = copy.deepcopy(of), theirs[2 * k + 1 : 2 * k + 3]
            module = copy.deepcopy(layers[k])
            with torch.no_grad():
                module.weight_ih_l0.copy_(into)
                module.weight_hh_l0.copy_(hidden)
            torch_nn.load_torch(like, r, module)
            for leaf in ("weight_input", "weight_recurrent"):
                torch.testing.assert_close(ours[f"{name}.{leaf}"][r], getattr(like, leaf)[r].detach(), **CLOSE)
    with pytest.raises(ValueError, match="no twin of the architecture Stacked with residual"):
        to_torch(model, 0)


@each_engine
def test_through_silent_layers_the_adjoint_passes_unchanged(engine: str) -> None:
    """Where the cells above the first put out zeros, what the readout's gradient is at the top it is at layer 1."""
    model, inputs = net("stacked", "gru", layers=4, residual=True), uniform(T, R, B, I, seed=1)
    with torch.no_grad():
        model.layer1.weight_recurrent.zero_()
        model.layer1.bias.copy_(-50 * torch.ones_like(model.layer1.bias))  # z = 0: nothing is carried on
        for k in (2, 3, 4):
            for parameter in model.cells[f"layer{k}"].parameters():
                parameter.zero_()
    cotangent = uniform(T, R, B, H, seed=2)
    passage = Passage(ENGINES[engine], scored=T, record=True)
    (model.architecture.run(model.parts, inputs, passage) * cotangent).sum().backward()
    first = passage.recorded()[0].norm_STRB[0]
    torch.testing.assert_close(first, cotangent.norm(dim=-1), **CLOSE)
    plain = net("stacked", "gru", layers=4)
    plain.load_state_dict(model.state_dict())
    passage = Passage(ENGINES[engine], scored=T, record=True)
    (plain.architecture.run(plain.parts, inputs, passage) * cotangent).sum().backward()
    assert (passage.recorded()[0].norm_STRB == 0).all()


@pytest.mark.technique("architecture=recurrent_mlp")
@each_engine
@pytest.mark.parametrize("cell", TWINS)
def test_a_recurrent_mlp_without_dense_layers_is_the_stack(cell: str, engine: str) -> None:
    mlp, stack = net("recurrent_mlp", cell, layers=3, between=0), net("stacked", cell, layers=3)
    assert [name for name, _ in inner(mlp)] == [name for name, _ in inner(stack)]
    inputs, cotangent = uniform(T, R, B, I, seed=1), uniform(T, R, B, H, seed=2)
    both = [outputs(model, inputs, engine) for model in (mlp, stack)]
    assert torch.equal(*both)
    of_both = [gradients(y, cotangent, [p for _, p in inner(m)]) for y, m in zip(both, (mlp, stack), strict=True)]
    pairs = zip(*of_both, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.technique("architecture=recurrent_mlp")
@each_engine
@pytest.mark.parametrize("activation", ["tanh", "modrelu"])
@pytest.mark.parametrize("cell", TWINS)
def test_a_recurrent_mlp_is_a_chain_of_torch_s_layers(cell: str, activation: str, engine: str) -> None:
    """nn.RNN, Linear, phi, Linear, phi, nn.RNN: values and gradients, of every parameter of the dense layers too."""
    model = net("recurrent_mlp", cell, activation=activation, layers=2, between=2)
    names = [f"between1_{m}" for m in (1, 2)]
    assert model.states == (*(f"layer1.{s}" for s in model.layer1.states), *(f"{n}.h" for n in names),
                            *(f"layer2.{s}" for s in model.layer2.states))  # fmt: skip
    inputs, cotangent = uniform(T, R, B, I, seed=1).requires_grad_(), uniform(T, R, B, H, seed=2)
    passage = Passage(ENGINES[engine], scored=T, record=True)
    found = model.architecture.run(model.parts, inputs, passage)
    (found * cotangent).sum().backward()
    recorded = {one.prefix: one.norm_STRB for one in passage.recorded()}
    for r in range(R):
        given = inputs[:, r].detach().clone().requires_grad_()
        below, above = (torch_nn.to_torch(c, r) for c in model.cells.values())
        y, dense, watched = below(given)[0], [], []
        for name in names:
            part = getattr(model, name)
            linear = nn.Linear(H, H).double()
            with torch.no_grad():
                linear.weight.copy_(part.weight[r].T)
                linear.bias.copy_(part.bias[r, 0])
            a = linear(y)
            y = torch.tanh(a) if activation == "tanh" else a.sign() * (a.abs() + part.activation.bias[r]).relu()
            y.retain_grad()
            dense.append(linear)
            watched.append(y)
        expected = above(y)[0]
        torch.testing.assert_close(found[:, r], expected, **CLOSE)
        (expected * cotangent[:, r]).sum().backward()
        torch.testing.assert_close(inputs.grad[:, r], given.grad, **CLOSE)
        for name, linear, value in zip(names, dense, watched, strict=True):
            part = getattr(model, name)
            torch.testing.assert_close(part.weight.grad[r], linear.weight.grad.T, **CLOSE)
            torch.testing.assert_close(part.bias.grad[r, 0], linear.bias.grad, **CLOSE)
            torch.testing.assert_close(recorded[f"{name}."][0, :, r], value.grad.norm(dim=-1), **CLOSE)


DEEP = {"depth": 3, "shortcut": True}
"""Of a deep transition, all that its equation has."""


def deep(**changes: object) -> Cell:
    made = component(
        "cell",
        "deep_transition",
        {"replicas": R, "inputs": I, "activation": lambda: component("activation", "tanh")},
        hidden=H,
        **changes,
    ).double()
    with torch.no_grad():
        for k, parameter in enumerate(made.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=k, bound=0.7))
    return made


@pytest.mark.technique("cell=deep_transition")
def test_a_transition_of_one_layer_is_the_elman_net() -> None:
    cell, elman = deep(depth=1, shortcut=False), drawn_cell("rnn", replicas=R, inputs=I, hidden=H)
    own = dict(cell.named_parameters())
    assert list(own) == [name for name, _ in elman.named_parameters()]
    elman.load_state_dict(cell.state_dict())
    inputs, cotangent = uniform(T, R, B, I, seed=1), uniform(T, R, B, H, seed=2)
    both = [unroll(c, inputs, record=True) for c in (cell, elman)]
    found = [
        gradients(u.output_KRBH, cotangent, list(c.parameters())) for u, c in zip(both, (cell, elman), strict=True)
    ]
    torch.testing.assert_close(both[0].output_KRBH, both[1].output_KRBH, rtol=0, atol=0)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(both[0].adjoint_norm_STRB, both[1].adjoint_norm_STRB, rtol=0, atol=0)


@pytest.mark.technique("cell=deep_transition")
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("depth", [2, 3])
def test_a_deep_transition_is_its_equation(depth: int, shortcut: bool) -> None:
    cell, inputs = deep(depth=depth, shortcut=shortcut), uniform(T, R, B, I, seed=1)
    weights = {name: cell.block(cell.weight_recurrent, name) for name in cell.blocks}
    biases = [cell.bias, *cell.bias_transition.split(H, dim=-1)]
    h, found = inputs.new_zeros(R, B, H), []
    for t in range(T):
        z = h
        for i in range(depth):
            a = z @ weights[f"transition{i + 1}"] + biases[i] + (inputs[t] @ cell.weight_input if i == 0 else 0)
            z = torch.tanh(a + (h @ weights["shortcut"] if shortcut and i == depth - 1 else 0))
        h = z
        found.append(h)
    torch.testing.assert_close(unroll(cell, inputs).output_KRBH, torch.stack(found), **CLOSE)


@pytest.mark.technique("cell=deep_transition")
@pytest.mark.parametrize(("depth", "shortcut"), [(1, False), (4, False), (4, True)])
def test_a_gradient_crosses_every_layer_at_every_step_but_for_the_shortcut(depth: int, shortcut: bool) -> None:
    """With phi = identity and every matrix s times a rotation the adjoint is s^(k lag); with V besides, more."""
    context = {"replicas": 1, "inputs": I, "activation": lambda: component("activation", "identity")}
    cell = component("cell", "deep_transition", context, hidden=H, depth=depth, shortcut=shortcut).double()
    s, turn = 0.8, torch.linalg.qr(uniform(H, H, seed=3))[0]
    with torch.no_grad():
        for name in cell.blocks:
            cell.block(cell.weight_recurrent, name).copy_(s * turn)
    unrolled = unroll(cell, uniform(T, 1, 1, I, seed=1), record=True)
    unrolled.output_KRBH[-1, 0, 0, 0].backward()
    norm_T = unrolled.adjoint_norm_STRB[0, :, 0, 0]
    expected = s ** (depth * torch.arange(T - 1, -1, -1).double())
    if not shortcut:
        torch.testing.assert_close(norm_T, expected, **CLOSE)
    else:
        assert all(now / before > s**depth for before, now in pairwise(norm_T.flip(0)))


def test_a_deep_transition_with_all_that_it_has_keeps_the_laws_of_cells() -> None:
    agree_with_the_oracle(deep(**DEEP))
    subject = Subject.of({"_target_": "rnnlab.cells.deep_transition.DeepTransition", **DEEP}, None, "cell")
    as_alone(subject, "tanh", "odd", "narrow", "prime")
    small = component("cell", "deep_transition", {"replicas": 2, "inputs": 2, "activation": nn.Tanh}, hidden=2, **DEEP)
    pass_finite_differences(small.double().requires_grad_())


PADDED = [
    ("stacked", "lstm", {"layers": 3, "residual": False}),
    ("stacked", "lstm", {"layers": 3, "residual": True}),
    ("bidirectional", "gru", {"layers": 2, "read": "steps"}),
    ("recurrent_mlp", "lstm", {"layers": 2, "between": 2}),
    ("stacked", "deep_transition", {"layers": 1}),
]


@each_engine
@pytest.mark.parametrize(("option", "cell", "changes"), PADDED, ids=lambda x: str(x).replace("'", ""))
def test_padding_changes_nothing(option: str, cell: str, changes: dict, engine: str) -> None:
    """A masked example is the short sequence alone: values, and the gradients of inputs and of every parameter."""
    if cell == "deep_transition" and engine == "fused":
        pytest.skip("it has no fused form")
    model, inputs, mask = net(option, cell, **changes), uniform(T, R, B, I, seed=1), right_aligned_mask(T, R, B)
    cotangent = uniform(T, R, B, model.architecture.width(model.parts), seed=2) * mask.unsqueeze(-1)
    padded, leaves = inputs.masked_fill(~mask.unsqueeze(-1), 1e3).requires_grad_(), list(dict(inner(model)).values())
    found = outputs(model, padded, engine, mask)
    of_input, *of_parameters = gradients(found, cotangent, [padded, *leaves])
    assert (of_input[~mask] == 0).all()
    together = [torch.zeros_like(leaf) for leaf in leaves]
    for r in range(R):
        for b in range(B):
            live = mask[:, r, b]
            # Each example by itself, beside a copy for the other replica.
            own = inputs[live][:, r, b].view(-1, 1, 1, I).expand(-1, R, 1, I).clone().requires_grad_()
            alone = outputs(model, own, engine)
            torch.testing.assert_close(found[live, r, b], alone[:, r, 0], **CLOSE)
            weight = torch.zeros_like(alone)
            weight[:, r, 0] = cotangent[live, r, b]
            of_own, *rest = gradients(alone, weight, [own, *leaves])
            torch.testing.assert_close(of_input[live, r, b], of_own[:, r, 0], **CLOSE)
            together = [sum_of + part for sum_of, part in zip(together, rest, strict=True)]
    for ours, theirs in zip(of_parameters, together, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["architecture=stacked", "architecture.layers=1", "architecture.residual=true"], "architecture.residual=true"),
        (["architecture=recurrent_mlp", "architecture.layers=1"], "architecture.layers=1"),
        (["cell=deep_transition", "cell.depth=1", "cell.shortcut=true"], "cell.shortcut=true"),
    ],
)
def test_what_would_do_nothing_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    from helpers import rnnlab

    assert rnnlab(*arguments) == 2
    assert capsys.readouterr().err.lower().startswith(f"rnnlab: {told}: not allowed.")
