"""The convolutional LSTM: an LSTM at every place, moved with its inputs, and slow as light. In float64.

T time, R replica, B batch, C channels, H hidden; y, x the rows and columns of places.
"""

import math
from typing import Any

import pytest
import torch
from helpers import rnnlab
from support import DTYPES, component, composed, drawn_cell, net_of, uniform
from torch import Tensor
from torch.nn import functional

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.architectures.single import Single
from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.bptt.unroll import unroll
from rnnlab.build import build
from rnnlab.cells.cell import Cell, initialise_cell
from rnnlab.laws.cells import agree_with_the_oracle, pass_finite_differences
from rnnlab.memory.kept import kept_bytes
from rnnlab.schema import validate
from rnnlab.streams import generator
from rnnlab.tasks.task import Batch

T, R, B, C, H = 5, 2, 3, 2, 3
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def conv(grid: tuple[int, int], *, replicas: int = R, channels: int = C, **changes: Any) -> Cell:
    """Drawn, without peepholes unless they are asked for."""
    changes = {"peepholes": False, "hidden": H, **changes}
    return drawn_cell("conv_lstm", replicas=replicas, inputs=channels * math.prod(grid), grid=grid, **changes)


def images(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """(..., channels, y, x)."""
    return values.unflatten(-1, (-1, *grid))


def lstm_like(cell: Cell) -> Cell:
    """With the same weights, where kernels have one place."""
    lstm = drawn_cell("lstm", replicas=len(cell.bias), inputs=len(cell.weight_input[0]), hidden=H)
    lstm.load_state_dict({name: value for name, value in cell.state_dict().items() if name != "peepholes"})
    return lstm


@pytest.mark.technique("cell=conv_lstm")
@pytest.mark.parametrize("kernel", [1, 3])
def test_of_one_pixel_it_is_the_lstm(kernel: int) -> None:
    """Whatever the kernels: there is nothing else to read."""
    cell = conv((1, 1), kernel_input=kernel, kernel_state=kernel)
    lstm, cotangent = lstm_like(cell), uniform(T, R, B, H, seed=2)
    mine, its = (uniform(T, R, B, C, seed=1).requires_grad_() for _ in range(2))
    one, other = unroll(cell, mine, record=True), unroll(lstm, its, record=True)
    for unrolled in (one, other):
        (unrolled.output_KRBH * cotangent).sum().backward()
    torch.testing.assert_close(one.output_KRBH, other.output_KRBH, **CLOSE)
    torch.testing.assert_close(one.adjoint_norm_STRB, other.adjoint_norm_STRB, **CLOSE)
    torch.testing.assert_close(mine.grad, its.grad, **CLOSE)
    for name, parameter in lstm.named_parameters():
        torch.testing.assert_close(cell.get_parameter(name).grad, parameter.grad, **CLOSE)


@pytest.mark.technique("cell=conv_lstm")
@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_with_kernels_of_one_place_it_is_an_lstm_at_every_pixel(padding: str) -> None:
    grid = (4, 3)
    cell = conv(grid, kernel_input=1, kernel_state=1, padding=padding)
    lstm, inputs = lstm_like(cell), uniform(T, R, B, C * 12, seed=1)
    pixels = inputs.view(T, R, B, C, 12).transpose(-1, -2).reshape(T, R, B * 12, C)
    cotangent = uniform(T, R, B, H * 12, seed=2)
    found, expected = unroll(cell, inputs).output_KRBH, unroll(lstm, pixels).output_KRBH
    expected = expected.view(T, R, B, 12, H).transpose(-1, -2).reshape(found.shape)
    for output in (found, expected):
        (output * cotangent).sum().backward()
    torch.testing.assert_close(found, expected, **CLOSE)
    for name, parameter in lstm.named_parameters():
        torch.testing.assert_close(cell.get_parameter(name).grad, parameter.grad, **CLOSE)


@pytest.mark.technique("cell=conv_lstm")
def test_a_step_is_the_paper_s_equations() -> None:
    """Peepholes too: i and f see C_{t-1}, o sees C_t (another's code has C_{t-1} in all three)."""
    grid = (4, 5)
    cell = conv(grid, peepholes=True, kernel_input=5, kernel_state=3)
    x, h, c = (uniform(1, R, B, k * 20, seed=k)[0] for k in (C, H, H + 1))
    c = c[..., : H * 20]
    _, (h_next, c_next) = cell.step(x, (h, c))
    gates = cell.gates(x, (h, c))
    for r in range(R):
        U, W = cell.weight_input[r].T.view(4 * H, C, 5, 5), cell.weight_recurrent[r].T.view(4 * H, H, 3, 3)
        V_i, V_f, V_o = cell.get_parameter("peepholes")[r].view(3, H, *grid)
        a = functional.conv2d(images(x[r], grid), U, cell.bias[r, 0], padding=2)
        a_i, a_f, a_o, a_g = (a + functional.conv2d(images(h[r], grid), W, padding=1)).chunk(4, dim=1)
        before = images(c[r], grid)
        i, f = torch.sigmoid(a_i + V_i * before), torch.sigmoid(a_f + V_f * before)
        after = f * before + i * torch.tanh(a_g)
        o = torch.sigmoid(a_o + V_o * after)
        torch.testing.assert_close(images(c_next[r], grid), after, **CLOSE)
        torch.testing.assert_close(images(h_next[r], grid), o * torch.tanh(after), **CLOSE)
        for name, gate in (("input", i), ("forget", f), ("output", o)):
            torch.testing.assert_close(images(gates[name][r], grid), gate, **CLOSE)


def test_a_peephole_of_the_output_gate_sees_the_present_and_those_of_the_others_the_past() -> None:
    """From c_0 = 0 a single step moves nothing by the peepholes of i and f, and all learn from two."""
    cell = conv((3, 3), peepholes=True)
    peepholes, inputs = cell.get_parameter("peepholes"), uniform(2, R, B, C * 9, seed=1)
    for steps in (1, 2):
        peepholes.grad = None
        unroll(cell, inputs[:steps]).output_KRBH.sum().backward()
        of_if, of_o = peepholes.grad.split((2 * H * 9, H * 9), dim=-1)
        assert (of_o != 0).all()
        assert bool((of_if != 0).all()) == (steps == 2)
        assert steps == 2 or not of_if.any()


@pytest.mark.technique("cell=conv_lstm")
@pytest.mark.parametrize("shift", [(1, 0), (0, 2), (3, -1)])
def test_on_a_circle_a_shifted_film_gives_shifted_states(shift: tuple[int, int]) -> None:
    grid = (4, 5)
    cell = conv(grid, padding="circular", kernel_input=4, kernel_state=3)
    inputs = uniform(T, R, B, C * 20, seed=1)

    def moved(values: Tensor) -> Tensor:
        return images(values, grid).roll(shift, (-2, -1)).flatten(-3)

    torch.testing.assert_close(
        unroll(cell, moved(inputs)).output_KRBH, moved(unroll(cell, inputs).output_KRBH), rtol=0, atol=1e-15
    )
    bounded = conv(grid, kernel_input=4, kernel_state=3)
    assert not torch.allclose(unroll(bounded, moved(inputs)).output_KRBH, moved(unroll(bounded, inputs).output_KRBH))


@pytest.mark.technique("cell=conv_lstm")
@pytest.mark.parametrize(("k_input", "k_state"), [(1, 3), (3, 3), (5, 3), (1, 1), (3, 1), (2, 2), (1, 2), (3, 4)])
@pytest.mark.parametrize("peepholes", [False, True])
def test_the_light_cone(k_input: int, k_state: int, peepholes: bool) -> None:
    """dh_{t+n}(p)/dx_t(q) is 0 beyond r_x + n r_h, exactly, and within it is not: in every direction, at every lag."""
    side, steps = 9, 4
    cell = conv((side, side), replicas=1, kernel_input=k_input, kernel_state=k_state, peepholes=peepholes)
    inputs, at = uniform(steps, 1, 1, C * side**2, seed=1).requires_grad_(), side // 2
    seen = images(unroll(cell, inputs).output_KRBH, (side, side))[-1, 0, 0, :, at, at].square().sum()
    (derivative,) = torch.autograd.grad(seen, inputs)
    reached = images(derivative[:, 0, 0], (side, side)).abs().amax(1) > 0  # (T, y, x)
    for n in range(steps):
        before, after = ((k_input - e) // 2 + n * ((k_state - e) // 2) for e in (0, 1))
        inside = torch.zeros(side, side, dtype=torch.bool)
        inside[max(0, at - before) : at + after + 1, max(0, at - before) : at + after + 1] = True
        assert torch.equal(reached[steps - 1 - n], inside), n


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("grid", [(3, 4), (1, 5), (4, 1)])
def test_adjoints_and_gradients_on_images(grid: tuple[int, int], padding: str) -> None:
    agree_with_the_oracle(conv(grid, peepholes=True, padding=padding, kernel_state=2))
    pass_finite_differences(conv(grid, hidden=1, channels=1, peepholes=True, padding=padding))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ["tanh", "modrelu"])
def test_a_replica_computes_on_images_as_alone(activation: str, dtype: torch.dtype) -> None:
    grid, replicas = (5, 7), 3
    together = conv(grid, replicas=replicas, activation=activation, peepholes=True, hidden=5, dtype=dtype)
    inputs, cotangent = (uniform(T, replicas, 3, k * 35, seed=k, dtype=dtype) for k in (C, 5))

    def everything(cell: Cell, at: slice) -> list[Tensor]:
        cell.zero_grad()
        output = unroll(cell, inputs[:, at]).output_KRBH
        (output * cotangent[:, at]).sum().backward()
        return [output.transpose(0, 1), *(p.grad for p in cell.parameters())]

    expected = everything(together, slice(None))
    for r in range(replicas):
        alone = conv(grid, replicas=1, activation=activation, peepholes=True, hidden=5, dtype=dtype)
        with torch.no_grad():
            for mine, many in zip(alone.parameters(), together.parameters(), strict=True):
                mine.copy_(many[r : r + 1])
        found = everything(alone, slice(r, r + 1))
        assert all(torch.equal(one, many[r : r + 1]) for one, many in zip(found, expected, strict=True))


def test_every_step_is_another_and_every_example_too() -> None:
    """Of a film that stands still states still move (another's code gave the same frame at every step)."""
    cell = conv((4, 4))
    still = uniform(1, R, B, C * 16, seed=1).expand(T, -1, -1, -1)
    output = unroll(cell, still).output_KRBH
    assert all(not torch.equal(output[t], output[t + 1]) for t in range(T - 1))
    alone = unroll(cell, still[:, :, 1:2]).output_KRBH
    torch.testing.assert_close(alone, output[:, :, 1:2], **CLOSE)


def test_initialisers_see_the_fan_in_of_a_convolution() -> None:
    """Uniform in +-1/sqrt(fan_in), as kaiming's is for a = sqrt(5); and one draw fills one gate's kernels."""
    cell = component(
        "cell",
        "conv_lstm",
        {
            "replicas": 1,
            "inputs": 5 * 64,
            "outputs": 2,
            "grid": (8, 8),
            "activation": lambda: component("activation", "tanh"),
        },
        hidden=30,
    )
    shapes: list[tuple[int, ...]] = []

    def draws(weight_OI: Tensor, stream: torch.Generator) -> None:
        shapes.append(tuple(weight_OI.shape))
        weight_OI.fill_(len(shapes))

    initialise_cell(cell, 0, draws, draws, draws, generator(0, "init"))
    assert shapes == [(30, 30 * 9)] * 4 + [(30, 5 * 9)] * 4 + [(30,)] * 4
    assert [cell.block(cell.weight_recurrent, name).unique().item() for name in cell.blocks] == [1, 2, 3, 4]
    assert (cell.block(cell.bias, "forget") == 10 + 1).all()
    peepholes = cell.get_parameter("peepholes")
    assert 0.9 / math.sqrt(30) < peepholes.abs().max() <= 1 / math.sqrt(30)


def image_net(cell: Cell, grid: tuple[int, int], channels: int) -> Model:
    """That reads and tells images."""
    image = (channels, *grid)
    sizes = Sizes(
        replicas=len(cell.bias), inputs=cell.inputs, outputs=math.prod(image), hidden=cell.hidden, image=image
    )
    net = Model(Single(), lambda inputs: cell, sizes).double()
    with torch.no_grad():
        net.weight_output.copy_(uniform(*net.weight_output.shape, seed=5))
        net.bias_output.copy_(uniform(*net.bias_output.shape, seed=6))
    return net


def test_an_image_is_read_out_place_by_place() -> None:
    """The same affine map of the H units of every place: a 1x1 convolution; and anything else all at once."""
    grid = (4, 5)
    cell = conv(grid)
    net, seen = image_net(cell, grid, C), uniform(T, R, B, H * 20, seed=1)
    assert net.weight_output.shape == (R, H, C)
    for r in range(R):
        kernel = net.weight_output[r].T.view(C, H, 1, 1)
        expected = functional.conv2d(images(seen[:, r], grid).flatten(0, 1), kernel, net.bias_output[r, 0])
        torch.testing.assert_close(net.readout(seen)[r], expected.view(T, B, C * 20), **CLOSE)
    assert net_of(cell, outputs=4).weight_output.shape == (R, H * 20, 4)
    assert image_net(drawn_cell("lstm", replicas=R, inputs=C * 20), grid, C).weight_output.shape == (R, 4, C * 20)


def test_what_is_told_moves_with_what_is_read() -> None:
    grid = (4, 5)
    net = image_net(conv(grid, padding="circular"), grid, C)
    film = uniform(T, R, B, C * 20, seed=1)

    def told(film: Tensor) -> Tensor:
        return images(net(Batch(film, film), Passage(autograd_engine("tests"), scored=T)), grid)

    moved = images(film, grid).roll((1, 2), (-2, -1)).flatten(-3)
    torch.testing.assert_close(told(moved), told(film).roll((1, 2), (-2, -1)), rtol=0, atol=1e-14)


FILM = ["task=bouncing_digits", "task.length=4", "task.told=2", "task.batch=2", "cell=conv_lstm", "cell.hidden=3"]


@pytest.mark.parametrize("architecture", ["single", "stacked"])
def test_of_a_film_it_has_a_unit_at_every_pixel_in_every_layer(architecture: str) -> None:
    made = build(validate(composed(*FILM, f"architecture={architecture}")))
    model = made.model([0, 1])
    width = 3
    assert model.weight_output.shape == (2, width, 1)
    assert [cell.widths for cell in model.cells.values()] == [(3 * 256, 3 * 256)] * len(model.cells)
    batch = made.task.training_batch(0, 1).shared(2)
    assert model(batch, made.passage(batch)).shape == (2, 2, 2, 256)


def test_a_film_is_learnt_from_and_its_gates_are_looked_at(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = [a for a in FILM if "hidden" not in a]
    assert rnnlab(*small, "cell.hidden=2", "steps=2", "+probe@probes.gates=gates", "architecture=stacked") == 0


def test_what_it_makes_no_sense_with(capsys: pytest.CaptureFixture[str]) -> None:
    circle = ["cell.padding=circular", "cell.kernel_state=35"]
    for arguments, told in (
        ([*FILM, *circle], "cell: ConvLSTM cannot be made from its keys: a kernel of 35 goes round the 16x16 places"),
        ([*FILM, "initialiser=identity"], "initialiser=identity: not allowed. It is for square weights"),
    ):
        capsys.readouterr()
        assert rnnlab(*[a for a in arguments if a != "task.length=4"], "task.length=4") == 2
        assert told in capsys.readouterr().err
    said: list[str] = []
    build(validate(composed("task=adding", "cell=conv_lstm")), say=said.append)
    assert "A step of task=adding reads no image: cell=conv_lstm has one place, as an LSTM." in said


def test_the_memory_that_a_film_needs_counts_every_pixel() -> None:
    """Of the states kept for the backward pass no more than is kept, and most of it."""
    made = build(validate(composed(*FILM, "seeds=2", "cell.hidden=8", "cell.peepholes=false")))
    model, batch = made.model([0, 1]), made.task.training_batch(0, 1).shared(2)
    (found,) = [term.bytes for term in made.memory.terms if "states kept" in term.what]
    kept = kept_bytes(lambda: unroll(model.cell, batch.input, last=2), [*model.parameters(), batch.input])
    assert 0.3 * kept < found <= kept
