"""The hierarchical multiscale LSTM: its reductions, its three ways of a step, and the gradient of its boundaries."""

import pytest
import torch
from support import component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.laws.ground import draw

T, R, B, I, H = 9, 2, 3, 3, 4
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
NEVER, ALWAYS = -1e3, 1e3


def hm_rnn(layers: int, *, slope: float = 1.0, seed: int = 0, inputs: int = I) -> Cell:
    context = {
        "replicas": R,
        "inputs": inputs,
        "activation": lambda: component("activation", "tanh", {"replicas": R, "units": H}),
    }
    return draw(component("cell", "hm_rnn", context, hidden=H, layers=layers, slope=slope), seed=seed)


def force(cell: Cell, layer: int, bias: float) -> None:
    """A boundary that hears nothing: it is always there, or never."""
    with torch.no_grad():
        cell.get_parameter(f"weight_boundary{layer}").zero_()
        cell.get_parameter(f"bias_boundary{layer}").fill_(bias)


def by_input(cell: Cell, layer: int = 1) -> None:
    """z^1_t = 1 where the first input is positive, whatever else."""
    with torch.no_grad():
        weight = cell.get_parameter(f"weight_boundary{layer}").zero_()
        weight[..., 2 * H] = 1e3
        cell.get_parameter(f"bias_boundary{layer}").zero_()


def named(cell: Cell, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return dict(zip(cell.states, state, strict=True))


def drawn_state(cell: Cell, **boundaries: float) -> tuple[Tensor, ...]:
    state = {
        name: uniform(R, B, width, seed=k) for k, (name, width) in enumerate(zip(cell.states, cell.widths, strict=True))
    }
    state |= {name: torch.full_like(state[name], value) for name, value in boundaries.items()}
    return tuple(value.requires_grad_() for value in state.values())


@pytest.mark.technique("cell=hm_rnn")
def test_one_layer_is_the_lstm() -> None:
    cell, lstm = hm_rnn(1), drawn_cell("lstm", replicas=R, inputs=I, hidden=H)
    lstm.load_state_dict(cell.state_dict())
    inputs, cotangent = uniform(T, R, B, I, seed=1), uniform(T, R, B, H, seed=2)
    mask = right_aligned_mask(T, R, B)
    found = []
    for one in (cell, lstm):
        unrolled = unroll(one, inputs, mask_TRB=mask, record=True)
        (unrolled.output_KRBH * cotangent).sum().backward()
        found.append([unrolled.output_KRBH, unrolled.adjoint_norm_STRB, *(p.grad for p in one.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_without_boundaries_the_first_layer_is_an_lstm_and_the_others_rest() -> None:
    cell, lstm = hm_rnn(3), drawn_cell("lstm", replicas=R, inputs=I, hidden=H)
    for layer in (1, 2):
        force(cell, layer, NEVER)
    lstm.load_state_dict(
        {
            name: value[..., : 4 * H]
            for name, value in cell.state_dict().items()
            if name in dict(lstm.named_parameters())
        }
    )
    inputs = uniform(T, R, B, I, seed=1)
    unrolled = unroll(cell, inputs)
    torch.testing.assert_close(unrolled.output_KRBH[..., :H], unroll(lstm, inputs).output_KRBH, **CLOSE)
    assert (unrolled.output_KRBH[..., H:] == 0).all()
    assert all((named(cell, unrolled.state)[name] == 0).all() for name in ("z1", "z2", "c2", "c3"))


def by_its_equations(cell: Cell, inputs: Tensor) -> tuple[Tensor, list[dict[int, Tensor]]]:
    """Example by example, in words: copy, update or flush. (T, R, B, L H), and the boundaries of every step."""
    L, outputs, boundaries = cell.layers, torch.zeros(len(inputs), R, B, cell.layers * H).double(), []
    weight = {name: cell.block(cell.weight_recurrent, name) for name in cell.blocks}
    sigmoid = torch.sigmoid
    for _ in inputs:
        boundaries.append({l: torch.zeros(R, B).double() for l in range(1, L)})
    for r in range(R):
        for b in range(B):
            h = {l: torch.zeros(H).double() for l in range(1, L + 2)}
            c, z = dict(h), dict.fromkeys(range(L + 1), 0)
            for t in range(len(inputs)):
                new_h, new_c, new_z = {0: inputs[t, r, b]}, {}, {0: 1}
                for l in range(1, L + 1):
                    a = {}
                    for k, gate in enumerate(("input", "forget", "output", "candidate")):
                        up = cell.block(cell.weight_input, f"{gate}1") if l == 1 else weight[f"{gate}{l}_up"]
                        a[k] = h[l] @ weight[f"{gate}{l}"][r] + cell.block(cell.bias, f"{gate}{l}")[r, 0]
                        a[k] = a[k] + new_z[l - 1] * (new_h[l - 1] @ up[r])
                        if l < L:
                            a[k] = a[k] + z[l] * (h[l + 1] @ weight[f"{gate}{l}_down"][r])
                    i, f, o, g = sigmoid(a[0]), sigmoid(a[1]), sigmoid(a[2]), torch.tanh(a[3])
                    ends = z[l] if l < L else 0
                    if ends:
                        new_c[l] = i * g
                    elif new_z[l - 1]:
                        new_c[l] = f * c[l] + i * g
                    else:
                        new_c[l] = c[l]
                    new_h[l] = o * torch.tanh(new_c[l]) if ends or new_z[l - 1] else h[l]
                    if l < L:
                        heard = torch.cat([h[l], z[l] * h[l + 1], new_z[l - 1] * new_h[l - 1]])
                        a_z = heard @ cell.get_parameter(f"weight_boundary{l}")[r, 0]
                        a_z = a_z + cell.get_parameter(f"bias_boundary{l}")[r, 0, 0]
                        new_z[l] = int(max(0.0, min(1.0, (cell.slope * a_z.item() + 1) / 2)) > 0.5)
                        boundaries[t][l][r, b] = new_z[l]
                h, c, z = {**h, **new_h}, {**c, **new_c}, {**z, **new_z}
                outputs[t, r, b] = torch.cat([h[l] for l in range(1, L + 1)])
    return outputs, boundaries


@pytest.mark.parametrize("layers", [2, 3])
def test_outputs_and_boundaries_are_those_of_its_equations(layers: int) -> None:
    cell, inputs = hm_rnn(layers), uniform(24, R, B, I, seed=1, bound=2.0)
    with torch.no_grad():
        expected, boundaries = by_its_equations(cell, inputs)
        state, seen = cell.zero_state(inputs[0]), set()
        for t, x in enumerate(inputs):
            before = named(cell, state)
            output, state = cell.step(x, state)
            torch.testing.assert_close(output, expected[t], **CLOSE)
            for layer, z in boundaries[t].items():
                assert torch.equal(named(cell, state)[f"z{layer}"][..., 0], z)
            if layers == 3:
                pairs = torch.cat([before["z2"], named(cell, state)["z1"]], dim=-1)
                seen |= {tuple(pair) for pair in pairs.flatten(0, 1).tolist()}
    assert layers == 2 or seen == {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)}, "not all three ways are taken"


def jacobian(new: Tensor, old: Tensor) -> Tensor:
    """(R, B, H, H) of d new / d old, example by example."""
    rows = [torch.autograd.grad(new[..., k].sum(), old, retain_graph=True, materialize_grads=True)[0] for k in range(H)]
    return torch.stack(rows, dim=2)


def test_a_layer_that_copies_keeps_its_state_to_the_bit_and_its_jacobian_is_the_identity() -> None:
    cell, identity = hm_rnn(3), torch.eye(H).double().expand(R, B, H, H)
    for layer in (1, 2):
        force(cell, layer, NEVER)
    state = drawn_state(cell, z1=0.0, z2=0.0)
    old, new = named(cell, state), named(cell, cell.step(uniform(R, B, I, seed=3), state)[1])
    for layer in (2, 3):
        for kind in "hc":
            assert torch.equal(new[f"{kind}{layer}"], old[f"{kind}{layer}"])
            assert torch.equal(jacobian(new[f"{kind}{layer}"], old[f"{kind}{layer}"]), identity)
    assert not torch.equal(new["h1"], old["h1"])


@pytest.mark.parametrize("below", [NEVER, ALWAYS], ids=["none below", "one below"])
def test_a_boundary_flushes_what_was_before_it(below: float) -> None:
    cell = hm_rnn(3)
    for layer in (1, 2):
        force(cell, layer, below)
    state = drawn_state(cell, z1=1.0, z2=1.0)
    old, new = named(cell, state), named(cell, cell.step(uniform(R, B, I, seed=3), state)[1])
    # But for c itself, which an LSTM's new c is f times, it may hear of the old segment: by h, in its gates.
    for layer in (1, 2):
        assert (jacobian(new[f"c{layer}"], old[f"c{layer}"]) == 0).all()
        assert (jacobian(new[f"h{layer}"], old[f"c{layer}"]) == 0).all()
        assert (jacobian(new[f"c{layer}"], old[f"h{layer + 1}"]) != 0).any(), "the layer above is told to it"
    assert torch.equal(new["c3"], old["c3"]) == (below == NEVER)


def test_an_update_s_jacobian_is_the_forget_gate() -> None:
    cell = hm_rnn(2)
    force(cell, 1, ALWAYS)
    state, x = drawn_state(cell, z1=0.0), uniform(R, B, I, seed=3)
    old, new, gates = named(cell, state), named(cell, cell.step(x, state)[1]), cell.gates(x, state)
    for layer in (1, 2):
        expected = torch.diag_embed(gates[f"forget{layer}"])
        torch.testing.assert_close(jacobian(new[f"c{layer}"], old[f"c{layer}"]), expected, **CLOSE)


def test_the_adjoint_of_a_resting_layer_is_carried_through_its_segment_unchanged() -> None:
    """The first layer ends at known steps; between them the second copies, and every adjoint of it is one number."""
    cell, ends = hm_rnn(2), torch.tensor([0, 0, 1, 0, 0, 0, 1, 0, 0])
    by_input(cell)
    inputs = uniform(T, R, B, I, seed=1)
    inputs[..., 0] = (2.0 * ends - 1).view(-1, 1, 1)
    unrolled = unroll(cell, inputs, record=True, last=1)
    unrolled.output_KRBH[..., H:].sum().backward()
    norm = dict(zip(cell.states, unrolled.adjoint_norm_STRB, strict=True))
    assert (norm["h2"][6:] == H**0.5).all()
    # c2 at 2, 3, 4 and 5 is one and the same number, and none of them is heard of but in the update at 6.
    assert (norm["c2"][2:6] > 0).all()
    assert all(torch.equal(norm["c2"][t], norm["c2"][5]) for t in (3, 4))
    assert all(torch.equal(norm["h2"][t], norm["h2"][5]) for t in (3, 4))


def test_a_boundary_s_gradient_goes_straight_through_it() -> None:
    """dz/da_z = slope / 2 where |a_z| < 1 / slope, else 0, though z is a step function of a_z."""
    slope = 0.5
    cell = hm_rnn(2, slope=slope)
    state, x = drawn_state(cell, z1=1.0), uniform(R, B, I, seed=3)
    bias = cell.get_parameter("bias_boundary1")
    for a, passes in ((-1.9, 1.0), (-2.1, 0.0), (1.9, 1.0), (2.1, 0.0)):
        force(cell, 1, a)
        new = named(cell, cell.step(x, state)[1])
        assert (new["z1"] == float(a > 0)).all()
        (gradient,) = torch.autograd.grad(new["z1"].sum(), bias)
        assert (gradient == passes * B * slope / 2).all()
