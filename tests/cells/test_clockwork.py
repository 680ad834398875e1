"""The clockwork net: what its modules hear, when they step, and what they hold.

T time, R replica, B batch, I input, H hidden.
"""

import math

import pytest
import torch
from helpers import rnnlab
from support import component, composed, drawn_cell, uniform
from torch import Tensor

from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.build import build
from rnnlab.cells.cell import Cell
from rnnlab.cells.clockwork import Clockwork
from rnnlab.laws.company import moment_of
from rnnlab.laws.ground import draw
from rnnlab.make import parameter_count
from rnnlab.schema import validate

R, B, I = 2, 3, 2
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def clockwork(
    periods: list[int], connections: str = "slow_to_fast", *, hidden: int = 6, activation: str = "tanh"
) -> Cell:
    units = {"replicas": R, "units": hidden}
    context = {**units, "inputs": I, "outputs": 1, "activation": lambda: component("activation", activation, units)}
    changes = {"hidden": hidden, "periods": periods, "connections": connections}
    return draw(component("cell", "clockwork", context, **changes))


def run(cell: Cell, input_TRBI: Tensor, mask_TRB: Tensor | None = None) -> Unrolled:
    return unroll(cell, cell.told(input_TRBI, mask_TRB, None), mask_TRB=mask_TRB, record=True)


def changed(output_TRBH: Tensor) -> Tensor:
    """(T, H) bool: whether a unit's state is another than the step before, in every example."""
    before = torch.cat([torch.zeros_like(output_TRBH[:1]), output_TRBH[:-1]])
    differs = output_TRBH != before
    assert (differs.all((1, 2)) == differs.any((1, 2))).all()
    return differs.all((1, 2))


@pytest.mark.technique("cell=clockwork")
@pytest.mark.parametrize("activation", ["tanh", "modrelu"])
def test_with_one_clock_and_all_links_it_is_the_elman_net(activation: str) -> None:
    """One module of period 1; its links are all there are."""
    inputs, cotangent, found = uniform(9, R, B, I, seed=1), uniform(9, R, B, 6, seed=2), []
    elman = drawn_cell("rnn", activation, replicas=R, inputs=I, hidden=6)
    for cell in (
        elman,
        *(clockwork([1], links, activation=activation) for links in ("slow_to_fast", "isolated", "all")),
    ):
        cell.load_state_dict(elman.state_dict(), strict=False)
        unrolled = run(cell, inputs)
        (unrolled.output_KRBH * cotangent).sum().backward()
        found.append([unrolled.output_KRBH, unrolled.adjoint_norm_STRB, *(p.grad for p in cell.parameters())])
    for other in found[1:]:
        for ours, expected in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, expected, **CLOSE)


@pytest.mark.parametrize(("hidden", "sizes"), [(6, [2, 2, 2]), (8, [3, 3, 2]), (2, [1, 1, 0])])
def test_links_go_from_slow_modules_to_fast_ones_block_by_block(hidden: int, sizes: list[int]) -> None:
    """Not unit by unit: within a module every unit hears every unit. And not from fast to slow."""
    cell = clockwork([1, 2, 4], hidden=hidden)
    assert isinstance(cell, Clockwork)
    assert cell.sizes == sizes
    module = [k for k, size in enumerate(sizes) for _ in range(size)]
    slow = tuple(uniform(R, B, hidden, seed=3) for _ in cell.states)
    told = cell.told(uniform(1, R, B, I, seed=4), None, None)[0]
    for source in range(hidden):
        other = (slow[0].clone(),)
        other[0][..., source] += 0.5
        heard = (cell.step(told, other)[0] != cell.step(told, slow)[0]).any(0).any(0).tolist()
        assert heard == [module[source] >= module[target] for target in range(hidden)]


@pytest.mark.parametrize(("connections", "absent"), [("slow_to_fast", 12), ("isolated", 24), ("all", 0)])
def test_links_that_are_absent_are_no_parameters(connections: str, absent: int) -> None:
    cell = clockwork([1, 3, 9], connections)
    (gradient,) = torch.autograd.grad(run(cell, uniform(20, R, B, I, seed=5)).output_KRBH.sum(), cell.weight_recurrent)
    assert (gradient == 0).sum() == R * absent
    assert parameter_count(cell, R) == 6 * (I + 1) + 36 - absent


def test_every_module_steps_at_its_own_rate_and_holds_its_state_between() -> None:
    """All at t = 0, the fastest alone at t = 1; held, not zero; the slow ones too step again and again."""
    outputs = run(clockwork([1, 2, 4]), uniform(13, R, B, I, seed=6)).output_KRBH
    steps = changed(outputs)
    for t in range(13):
        assert steps[t].tolist() == [t % period == 0 for period in (1, 1, 2, 2, 4, 4)]
    assert (outputs != 0).all()
    assert torch.equal(outputs[5:8, ..., 4:], outputs[4:5, ..., 4:].expand(3, R, B, 2))


def test_a_step_of_all_modules_is_an_elman_step_with_the_forbidden_weights_zero() -> None:
    cell, inputs, h = clockwork([1, 2, 4]), uniform(1, R, B, I, seed=7), uniform(R, B, 6, seed=8)
    block = torch.ones(3, 3, dtype=torch.float64).tril().repeat_interleave(2, 0).repeat_interleave(2, 1)  # slow to fast
    expected = torch.tanh(inputs[0] @ cell.weight_input + h @ (cell.weight_recurrent * block) + cell.bias)
    torch.testing.assert_close(cell.step(cell.told(inputs, None, None)[0], (h,))[0], expected, **CLOSE)


def test_the_clock_starts_with_every_sequence() -> None:
    cell, inputs = clockwork([1, 3, 5]), uniform(9, R, B, I, seed=9)
    first, again = run(cell, inputs), run(cell, inputs)
    assert torch.equal(first.output_KRBH, again.output_KRBH)


@pytest.mark.parametrize("short", [1, 4, 6])
def test_a_padded_example_is_the_short_one_alone(short: int) -> None:
    """Its own first step is t = 0, wherever it stands: values, adjoints and gradients."""
    T, inputs, cotangent = 7, uniform(7, R, B, I, seed=10), uniform(6, seed=11)
    mask = (torch.arange(T) >= T - short).view(T, 1, 1).expand(T, R, B)
    found = []
    for seen, its_mask in ((inputs, mask), (inputs[T - short :], None)):
        cell = clockwork([1, 2, 4])
        unrolled = run(cell, seen, its_mask)
        (unrolled.output_KRBH[-1] * cotangent).sum().backward()
        norms = unrolled.adjoint_norm_STRB[:, -short:]
        found.append([unrolled.output_KRBH[-short:], norms, *(p.grad for p in cell.parameters())])
    for padded, alone in zip(*found, strict=True):
        assert torch.equal(padded, alone)


@pytest.mark.parametrize("periods", [[1, 2, 4, 8], [1, 3, 9, 27]])
def test_the_gradient_of_an_isolated_module_falls_as_often_as_it_steps(periods: list[int]) -> None:
    """With equal weights and an identity as phi: log |dL/dh_t| is a staircase, whose slope is log(w) / period."""
    w, width, T = 0.8, 3, 4 * periods[-1] + 1
    cell = clockwork(periods, "isolated", hidden=width * len(periods), activation="identity")
    rotation = torch.linalg.qr(uniform(width, width, seed=12))[0]
    with torch.no_grad():
        cell.weight_recurrent.copy_(torch.block_diag(*[w * rotation] * len(periods)).expand(R, -1, -1))
    for k, period in enumerate(periods):
        last = torch.zeros(T, R, B, I, dtype=torch.float64)
        module = slice(k * width, (k + 1) * width)
        unrolled = run(cell, last)
        unrolled.output_KRBH[-1, ..., module].sum().backward()
        log = unrolled.adjoint_norm_STRB[0, :, 0, 0].log()
        stepped = [sum(s % period == 0 for s in range(t + 1, T)) for t in range(T)]
        expected = 0.5 * math.log(width) + math.log(w) * torch.tensor(stepped, dtype=torch.float64)
        torch.testing.assert_close(log, expected, **CLOSE)
        assert ((log[1:] - log[:-1] == 0).tolist()) == [t % period != 0 for t in range(1, T)], (
            "identity while it is held"
        )
        assert log[-1] - log[0] == pytest.approx(-math.log(w) * (T - 1) / period, rel=1e-12)


OPTIMISERS = {
    "momentum": ["optimiser.weight_decay=0.1"],
    "adam": [],
    "adamw": ["optimiser.weight_decay=0.1"],
    "adafactor": [],
    "muon": ["optimiser.weight_decay=0.1"],
}


@pytest.mark.parametrize("option", OPTIMISERS)
@pytest.mark.parametrize("noise", ["none", "annealed"])
def test_absent_links_stay_0_whatever_updates_them(option: str, noise: str) -> None:
    """Muon's step is orthogonal, and noise knows no links: both would fill them."""
    arguments = [
        "cell=clockwork",
        "cell.hidden=9",
        "cell.periods=[1,2,4]",
        "seeds=2",
        "device=cpu",
        f"optimiser={option}",
    ]
    arguments += ["task.length=9", "task.batch=4", f"gradient_noise={noise}", *OPTIMISERS[option]]
    experiment = build(validate(composed(*arguments)))
    for moment in (moment_of(experiment, steps=steps) for steps in (1, 6)):
        cell = moment.model.cell
        absent = cell.links == 0
        assert absent.sum() == R * cell.absent == R * 27
        assert (cell.weight_recurrent[absent] == 0).all()
        assert (cell.weight_recurrent[~absent] != 0).all()
        assert (moment.initial["cell.weight_recurrent"][absent] == 0).all()


def test_an_orthogonal_draw_keeps_the_columns_of_the_fastest_module() -> None:
    model = build(validate(composed("cell=clockwork", "cell.hidden=8", "cell.periods=[1,2]", "dtype=float64"))).model(
        [3]
    )
    W = model.cell.weight_recurrent[0].detach()
    assert (W[:4, 4:] == 0).all()
    gram = W.T @ W
    torch.testing.assert_close(gram[:4, :4], torch.eye(4, dtype=torch.float64))
    assert (torch.linalg.svdvals(W[4:, 4:]) < 1 - 1e-3).any()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cell.hidden=3"], "cell.hidden=3: not allowed. 4 modules (cell.periods) need a unit each"),
        (["cell.periods=[2,1]"], "periods=[2, 1] must be at least one, and rise"),
        (["cell.periods=[1,1]"], "periods=[1, 1] must be at least one, and rise"),
        (["cell.periods=[0,1]"], "cell.periods=[0, 1]: not allowed. cell.periods must be greater than or equal to 1"),
        (["cell.periods=[]"], "periods=[] must be at least one"),
        (["parametrisation=cayley"], "cell=clockwork: not allowed. Most pairs of its units are not linked"),
    ],
)
def test_what_it_makes_no_sense_with(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rnnlab("cell=clockwork", "task=adding", *arguments) == 2
    assert told in capsys.readouterr().err


def test_its_size_is_matched_by_the_links_that_it_has() -> None:
    """64 units in 8 modules have 36 blocks of 8 x 8 links, two inputs, a bias, and a readout."""
    arguments = ["cell=clockwork", "cell.periods=[1,2,4,8,16,32,64,128]", "task=adding", "match_parameters=2561"]
    found = build(validate(composed(*arguments))).match
    assert found is not None
    assert (found.hidden, found.parameters) == (64, 36 * 64 + 3 * 64 + 65)
