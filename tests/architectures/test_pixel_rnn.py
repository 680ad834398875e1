"""PixelRNN: a pixel is told from those before it, from nothing else, and from all that it should. In float64.

Y, X rows and columns, T = Y X pixels, R replica, B batch, I input, F features.
"""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers import TINY, adjoints, only_run
from support import component, composed, drawn_cell, uniform
from torch import Tensor
from torch.nn import functional

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.diagonal_bilstm import skewed, unskewed
from rnnlab.architectures.model import Model
from rnnlab.architectures.pixel_rnn import pixels_before
from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.build import build
from rnnlab.cells.cell import Cell
from rnnlab.cli import run_command_line
from rnnlab.contract import ConfigError
from rnnlab.schema import validate
from rnnlab.tasks.task import Batch

OPTIONS = ["row_lstm", "diagonal_bilstm"]
each = pytest.mark.parametrize("option", OPTIONS)
Grid = tuple[int, int]


def net(option: str, grid: Grid, *, hidden: int = 3, replicas: int = 1, cell: dict | None = None, **keys: Any) -> Model:
    """For binary images, with every parameter drawn."""
    numbers = itertools.count()

    def drawn(inputs: int, **changes: Any) -> Cell:
        given = {"peepholes": False, **(cell or {}), **changes}
        return drawn_cell("conv_lstm", inputs=inputs, hidden=hidden, replicas=replicas, seed=next(numbers), **given)

    keys = {"layers": 1, "reach": 1, **keys}
    sizes = Sizes(replicas=replicas, inputs=1, outputs=1, hidden=hidden, image=(1, *grid))
    model = Model(component("architecture", option, **keys), drawn, sizes).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(model.named_parameters()):
            if name.partition(".")[0] not in model.cells:
                parameter.copy_(uniform(*parameter.shape, seed=100 + k))
    return model


def logits(model: Model, images_NT: Tensor) -> Tensor:
    """(N, T) of the first replica; input t is pixel t - 1, and 0 at first."""
    inputs = functional.pad(images_NT.T, (0, 0, 1, 0))[:-1, None, :, None]
    T = len(inputs)
    return model(Batch(inputs, images_NT.T), Passage(autograd_engine("tests"), scored=T))[0, ..., 0].T


def log_probabilities(model: Model, images_NT: Tensor) -> Tensor:
    """(N, T): ln p(x_t | x_1, ..., x_{t-1})."""
    return -functional.binary_cross_entropy_with_logits(logits(model, images_NT), images_NT, reduction="none")


def reached(model: Model, grid: Grid) -> Tensor:
    """(T, T) bool: whether output i depends on pixel j: its derivative is not 0."""
    image = uniform(1, math.prod(grid), seed=1).requires_grad_()
    rows = [torch.autograd.grad(one, image, retain_graph=True)[0][0] for one in logits(model, image)[0]]
    return torch.stack(rows) != 0


SHAPES = [{"layers": 1, "residual": False}, {"layers": 1, "residual": True}, {"layers": 3, "residual": True}]


@pytest.mark.technique("architecture=diagonal_bilstm")
@pytest.mark.parametrize("keys", SHAPES, ids=str)
@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("grid", [(5, 5), (3, 5), (4, 2)], ids=str)
def test_on_the_diagonal_a_pixel_sees_all_before_it_and_no_other(
    grid: Grid, reach: int, peepholes: bool, keys: dict
) -> None:
    """All pairs; a residual path leaks nothing either."""
    found = reached(net("diagonal_bilstm", grid, reach=reach, cell={"peepholes": peepholes}, **keys), grid)
    assert torch.equal(found, torch.ones_like(found).tril(-1))


def triangle(grid: Grid, *, layers: int, reach: int, kernel: int, residual: bool) -> Tensor:
    """(T, T) bool: by a walk over who reads whom."""
    Y, X = grid
    places = list(itertools.product(range(Y), range(X)))

    def before(y: int, x: int) -> set[Grid]:
        above = {(y - up, x + across) for up in range(1, reach + 1) for across in range(-reach, reach + 1)}
        return (above | {(y, x - back) for back in range(1, reach + 1)}) & set(places)

    features = {at: before(*at) for at in places}
    for _ in range(layers):
        state: dict[Grid, set[Grid]] = {}
        for y, x in places:
            own = features[y, x] | features.get((y, x - 1), set())
            heard = [state.get((y - 1, x + e), set()) for e in range(-(kernel // 2), (kernel - 1) // 2 + 1)]
            state[y, x] = own.union(*heard)
        features = {at: state[at] | (features[at] if residual else set()) for at in places}
    return torch.tensor([[j in features[i] for j in places] for i in places])


@pytest.mark.technique("architecture=row_lstm")
@pytest.mark.parametrize("keys", SHAPES, ids=str)
@pytest.mark.parametrize(("reach", "kernel"), [(1, 1), (1, 2), (1, 3), (1, 5), (3, 3)])
@pytest.mark.parametrize("grid", [(5, 5), (3, 6), (4, 2)], ids=str)
def test_in_rows_a_pixel_sees_a_triangle_of_those_before_it(grid: Grid, reach: int, kernel: int, keys: dict) -> None:
    found = reached(net("row_lstm", grid, reach=reach, cell={"kernel_state": kernel}, **keys), grid)
    assert torch.equal(found, triangle(grid, reach=reach, kernel=kernel, **keys))
    assert not found.triu().any()


def test_the_triangle_s_corners() -> None:
    """One layer, reach 1, a kernel of 3: the row above from 3 before to 1 after, and on from there."""
    found = reached(net("row_lstm", (5, 9), residual=False), (5, 9)).view(5, 9, 5, 9)
    seen_Y = [[x for x in range(9) if found[4, 4, y, x]] for y in range(5)]
    assert seen_Y[4] == [2, 3]
    assert seen_Y[3] == [1, 2, 3, 4, 5]
    assert seen_Y[2] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.technique("architecture=row_lstm", "architecture=diagonal_bilstm")
@each
def test_all_images_together_have_probability_one(option: str) -> None:
    for grid in ((2, 2), (2, 3)):
        images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=math.prod(grid)))).double()
        p = log_probabilities(net(option, grid, layers=2), images).sum(-1).exp()
        assert len(p) == 2 ** math.prod(grid)
        assert p.std() > 1e-4
        torch.testing.assert_close(p.sum().item(), 1.0, rtol=1e-12, atol=0)


@pytest.mark.technique("architecture=row_lstm", "architecture=diagonal_bilstm")
@each
def test_an_image_drawn_pixel_by_pixel_has_the_probability_of_one_pass(option: str) -> None:
    grid, drawn = (4, 5), torch.Generator().manual_seed(3)
    model, image, stepwise = net(option, grid, layers=2), torch.zeros(2, 20).double(), list[Tensor]()
    for t in range(20):
        p = logits(model, image)[:, t].sigmoid()
        image[:, t] = (torch.rand(2, generator=drawn, dtype=torch.float64) < p).double()
        stepwise.append(torch.where(image[:, t] > 0, p, 1 - p).log())
    torch.testing.assert_close(torch.stack(stepwise, dim=-1), log_probabilities(model, image), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("grid", [(1, 1), (3, 3), (2, 5), (5, 2)], ids=str)
def test_a_skewed_image_is_an_image_again(grid: Grid) -> None:
    image = uniform(*grid, 2, 3, 4, seed=1)
    skew = skewed(image)
    assert torch.equal(unskewed(skew), image)
    Y, X = grid
    assert skew.shape[:2] == (Y + X - 1, Y)
    for s, y in itertools.product(range(Y + X - 1), range(Y)):
        assert torch.equal(skew[s, y], image[y, s - y]) if 0 <= s - y < X else not skew[s, y].any()


def test_the_window_is_a_convolution_with_mask_a() -> None:
    """The middle row is there up to the place (another's mask drops that row), and nothing from the place on."""
    reach, grid = 2, (5, 6)
    side, count = 2 * reach + 1, 2 * reach * (reach + 1)
    image, weight = uniform(*grid, 1, 3, 2, seed=1), uniform(count, 2, 4, seed=2)
    kernel = torch.zeros(side * side, 2, 4).double()
    kernel[:count] = weight
    expected = functional.conv2d(
        image[:, :, 0].permute(2, 3, 0, 1), kernel.view(side, side, 2, 4).permute(3, 2, 0, 1), padding=reach
    )
    found = pixels_before(image, reach)[:, :, 0] @ weight.flatten(0, 1)
    torch.testing.assert_close(found.permute(2, 3, 0, 1), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.technique("architecture=diagonal_bilstm")
def test_on_the_diagonal_a_step_is_the_recurrence_over_rows_and_columns() -> None:
    """l_{y,x} from l_{y,x-1} and l_{y-1,x}, place by place, with the cell's own weights."""
    grid = (3, 4)
    model = net("diagonal_bilstm", grid, residual=False)
    image = (uniform(1, 12, seed=1) > 0).double()
    features = model.window(pixels_before(functional.pad(image.view(3, 4, 1, 1, 1), (0,) * 7 + (1,)), 1).flatten(0, 1))
    features = features.view(3, 5, 6)

    def one_way(cell: Cell, features: Tensor) -> Tensor:
        H, states = 3, dict[Grid, tuple[Tensor, Tensor]]()
        W = cell.weight_recurrent[0].view(H, 2, 4 * H)
        outside = (torch.zeros(H).double(), torch.zeros(H).double())
        # What stands before the first column is a place without pixels, which has a state too.
        for y, x in itertools.product(range(3), range(-3, 5)):
            left, above = (states.get(at, outside) for at in ((y, x - 1), (y - 1, x)))
            read = features[y, x] if x >= 0 else torch.zeros(6).double()
            a = read @ cell.weight_input[0] + above[0] @ W[:, 0] + left[0] @ W[:, 1] + cell.bias[0, 0]
            i, f, o, g = a.chunk(4)
            c = f.sigmoid() * left[1] + i.sigmoid() * g.tanh()
            states[y, x] = (o.sigmoid() * c.tanh(), c) if x + y >= 0 else outside
        return torch.stack([states[y, x][0] for y in range(3) for x in range(5)]).view(3, 5, H)

    left, right = one_way(model.left1, features), one_way(model.right1, features.flip(1)).flip(1)
    h = left + functional.pad(right[:-1], (0, 0, 0, 0, 1, 0))
    read = h[:, :4].reshape(12, 3) @ model.up1.weight[0] + model.up1.bias[0]
    expected = read @ model.weight_output[0] + model.bias_output[0]
    torch.testing.assert_close(logits(model, image)[0], expected[:, 0], rtol=1e-11, atol=1e-12)


@each
def test_a_run_trains_and_records_the_adjoints_of_every_row_or_diagonal(option: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ["task=image_density", "task.batch=3", "cell=conv_lstm", "cell.hidden=2", f"architecture={option}"]
    small = [a for a in TINY if not a.startswith("task") and not a.startswith("cell.hidden")]
    assert run_command_line([*small, *chosen, "steps=4", "architecture.layers=1", "+probe@probes.gates=gates"]) == 0
    found = adjoints(only_run())
    norms, steps = found["norm"], 8 if option == "row_lstm" else 8 + 9 - 1
    assert norms.shape[-1] == 64
    assert np.isfinite(norms[..., :steps]).all()
    assert np.isnan(norms[..., steps:]).all()


def test_what_they_say_of_the_cell_s_kernels() -> None:
    said: list[str] = []
    chosen = ["task=image_density", "cell=conv_lstm", "cell.hidden=2", "architecture=diagonal_bilstm"]
    made = build(validate(composed(*chosen)), say=said.append)
    assert "architecture=diagonal_bilstm sets cell.kernel_state=2 in place of 3." in said
    assert {cell.weight_recurrent.shape[1] for cell in made.model([0]).cells.values()} == {2 * 2}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cell=lstm", "task=image_density"], "architecture=row_lstm: not allowed. Its cell stands at all pixels"),
        (["cell=conv_lstm"], "architecture=row_lstm: not allowed. It tells every pixel of an image"),
        (["cell=conv_lstm", "task=bouncing_digits"], "architecture=row_lstm: not allowed. It tells every pixel of an"),
        (["cell=conv_lstm", "cell.padding=circular", "task=image_density"], "it goes with cell.padding=zeros"),
    ],
)
def test_what_they_make_no_sense_with(arguments: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(validate(composed("architecture=row_lstm", *arguments)))
    assert told in str(error.value)
