"""Laws that hold for every component of a group, whichever there are."""

import itertools
import math

import pytest
import torch
from support import ACTIVATIONS, CELLS, component, drawn_cell, leaf, net_of, options, right_aligned_mask, uniform
from torch import Tensor, nn

from rnnlab.bptt.reverse import reverse_sweep
from rnnlab.bptt.unroll import unroll
from rnnlab.clipping.none import NoClipping
from rnnlab.streams import generator
from rnnlab.tasks.task import Batch, Marks, Task, stack
from rnnlab.training.population import Population

# Cells and activations


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("option", CELLS)
def test_cell_and_activation_agree_with_the_oracle(option: str, activation: str) -> None:
    cell = drawn_cell(option, activation, replicas=2)
    inputs, cotangent = uniform(6, 2, 3, 3, seed=1).requires_grad_(), uniform(6, 2, 3, 4, seed=2)
    mask = right_aligned_mask(6, 2, 3)
    unrolled = unroll(cell, inputs, mask_TRB=mask, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()
    swept = reverse_sweep(cell, inputs, cotangent, mask_TRB=mask)
    close = {"rtol": 1e-10, "atol": 1e-13}
    torch.testing.assert_close(unrolled.adjoint_norm_STRB, swept.adjoint_STRBH.norm(dim=-1), **close)
    torch.testing.assert_close(inputs.grad, swept.input_TRBI, **close)
    for name, parameter in cell.named_parameters():
        torch.testing.assert_close(parameter.grad, swept.parameters[name], **close)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("option", CELLS)
def test_cell_and_activation_pass_finite_differences(option: str, activation: str) -> None:
    cell = drawn_cell(option, activation, replicas=2, inputs=2, hidden=2)
    names, parameters = zip(*cell.named_parameters(), strict=True)

    def outputs(inputs: Tensor, *values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        for name, value in given.items():
            owner, _, own = name.rpartition(".")
            module = cell.get_submodule(owner)
            module._parameters.pop(own, None)
            setattr(module, own, value)
        return unroll(cell, inputs).output_KRBH

    arguments = [p.detach().clone().requires_grad_() for p in parameters]
    torch.autograd.gradcheck(outputs, (uniform(2, 2, 1, 2, seed=3).requires_grad_(), *arguments))


@pytest.mark.parametrize("option", CELLS)
def test_a_cell_declares_what_it_has(option: str) -> None:
    cell = drawn_cell(option, replicas=2, inputs=3, hidden=5)
    state = cell.zero_state(torch.zeros(2, 4, 3, dtype=torch.float64))
    assert [tuple(s.shape) for s in state] == [(2, 4, 5)] * len(cell.states)
    output, new = cell.step(uniform(2, 4, 3, seed=4), state)
    assert output is new[0], "the output is the first state component"
    assert len(new) == len(cell.states)
    assert all(not torch.equal(n, s) for n, s in zip(new, state, strict=True))
    assert all((s == 0).all() for s in state), "a step does not change the state it is given"
    stacked = [(cell.weight_input, cell.input_blocks), (cell.bias, cell.input_blocks)]
    stacked += [(cell.weight_recurrent, cell.blocks)] if cell.blocks else []
    for parameter, blocks in stacked:
        assert torch.equal(torch.cat([cell.block(parameter, name) for name in blocks], dim=-1), parameter)
    assert cell.recurrent == ("weight_recurrent" in dict(cell.named_parameters()))
    same_number = len(cell.blocks) == len(cell.input_blocks)
    assert cell.blocks == cell.input_blocks or not same_number, "a parameter's width tells which blocks it has"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_acts_on_every_element_alone(activation: str) -> None:
    made = component("activation", activation, {"replicas": 2, "units": 5})
    values = uniform(2, 7, 5, seed=5, bound=3.0, dtype=torch.float32)
    result = made(values)
    assert result.shape == values.shape
    assert result.dtype == values.dtype
    changed = values.clone()
    changed[1, 3, 2] += 1
    assert (made(changed) != result).nonzero().tolist() in ([[1, 3, 2]], [])


# Initialisers


def drawn(group: str, option: str, *shape: int, seed: int = 0, **changes: object) -> Tensor:
    made = component(group, option, {"units": 30, "steps": 20}, **changes)
    tensor = torch.full(shape, 7.0, dtype=torch.float64)
    with torch.no_grad():
        assert made(tensor, generator(seed, "init")) is None, "it draws in place"
    return tensor


@pytest.mark.parametrize(
    ("group", "option", "shape"),
    [
        (group, option, shape)
        for group, shape in (("initialiser", (30, 30)), ("bias_initialiser", (30,)))
        for option in options(group)
    ],
)
def test_an_initialiser_draws_everything_from_the_generator_it_is_given(
    group: str, option: str, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = drawn(group, option, *shape)
    assert torch.equal(before, torch.get_rng_state())
    assert (first != 7).all()
    assert torch.isfinite(first).all()
    assert torch.equal(first, drawn(group, option, *shape))
    fixed = option in ("identity", "zeros", "chrono")  # chrono draws gates, and this is none
    assert torch.equal(first, drawn(group, option, *shape, seed=1)) == fixed


SCALE_LAWS = {
    ("xavier", "uniform"): lambda out, fan_in: math.sqrt(2 / (out + fan_in)),
    ("xavier", "normal"): lambda out, fan_in: math.sqrt(2 / (out + fan_in)),
    ("kaiming", "uniform"): lambda out, fan_in: math.sqrt(1 / fan_in),
    ("kaiming", "normal"): lambda out, fan_in: math.sqrt(1 / fan_in),
}


@pytest.mark.technique("initialiser=xavier", "initialiser=kaiming")
@pytest.mark.parametrize(("option", "distribution"), SCALE_LAWS)
def test_a_scaled_initialiser_has_its_deviation_and_distribution(option: str, distribution: str) -> None:
    out, fan_in, gain = 200, 50, 1.7
    weight = drawn("initialiser", option, out, fan_in, distribution=distribution, gain=gain)
    deviation = gain * SCALE_LAWS[option, distribution](out, fan_in)
    assert weight.mean().item() == pytest.approx(0, abs=0.05 * deviation)
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)
    furthest = weight.abs().max().item() / deviation
    assert (furthest <= math.sqrt(3)) == (distribution == "uniform"), "a uniform draw ends at sqrt(3) deviations"


@pytest.mark.technique("initialiser=orthogonal")
def test_orthogonal_weights_have_every_singular_value_equal_to_the_gain() -> None:
    for shape in ((30, 30), (30, 7), (7, 30)):
        values = torch.linalg.svdvals(drawn("initialiser", "orthogonal", *shape, gain=0.8))
        torch.testing.assert_close(values, torch.full_like(values, 0.8))


@pytest.mark.technique("initialiser=identity")
def test_identity_is_scale_times_the_identity() -> None:
    weight = drawn("initialiser", "identity", 30, 30, scale=-0.4)
    assert torch.equal(weight, -0.4 * torch.eye(30, dtype=torch.float64))


@pytest.mark.technique("initialiser=cayley")
@pytest.mark.parametrize("size", [30, 31])
def test_cayley_weights_turn_pairs_of_units_by_at_most_the_spread(size: int) -> None:
    weight = drawn("initialiser", "cayley", size, size, spread=0.25)
    torch.testing.assert_close(weight @ weight.T, torch.eye(size, dtype=torch.float64))
    pairs = torch.eye(size // 2, dtype=torch.bool).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert (weight[: len(pairs), : len(pairs)][~pairs] == 0).all()
    angle = torch.linalg.eigvals(weight).angle().abs() / math.pi
    assert angle.max() <= 0.25
    assert angle.max() > 0.2
    assert (angle == 0).sum() == size % 2, "a last odd unit keeps its value"
    turned = drawn("initialiser", "cayley", size, size, spread=0.25, negative=0.5)
    sign = (turned / weight)[range(size), range(size)]
    assert sign.tolist() == [1.0] * (size - round(size / 2)) + [-1.0] * round(size / 2)
    torch.testing.assert_close(turned, weight * sign)


@pytest.mark.technique("initialiser=cayley")
def test_the_angles_of_cayley_weights_are_uniform() -> None:
    weight = drawn("initialiser", "cayley", 1000, 1000)
    angle = torch.acos(weight.diagonal()[::2]) / (math.pi / 2)  # the default spread is half of pi
    assert (angle.sort().values - torch.linspace(0, 1, len(angle))).abs().max() < 0.07


@pytest.mark.technique("initialiser=nearly_identity")
def test_nearly_identity_is_positive_definite_with_largest_eigenvalue_one() -> None:
    weight = drawn("initialiser", "nearly_identity", 200, 200)
    torch.testing.assert_close(weight, weight.T)
    values = torch.linalg.eigvalsh(weight)
    assert values[-1].item() == pytest.approx(1, rel=1e-12)
    # G^T G / H has its eigenvalues in [0, 4] (Marchenko & Pastur), so (I + A) / e in [1/5, 1], the mean at 2/5.
    assert values[0].item() == pytest.approx(1 / 5, rel=0.05)
    assert values.mean().item() == pytest.approx(2 / 5, rel=0.05)


@pytest.mark.technique("initialiser=spectral_radius")
@pytest.mark.parametrize("nonzeros", [None, 1, 15, 30])
def test_spectral_radius_is_what_was_asked_for(nonzeros: int | None) -> None:
    weight = drawn("initialiser", "spectral_radius", 30, 30, radius=0.7, nonzeros=nonzeros)
    assert torch.linalg.eigvals(weight).abs().max().item() == pytest.approx(0.7, rel=1e-9)
    assert ((weight != 0).sum(0) == (nonzeros or 30)).all()


@pytest.mark.technique("initialiser=unit_rows")
@pytest.mark.parametrize("shape", [(30, 30), (30, 2), (2, 30)])
def test_unit_rows_have_one_length(shape: tuple[int, int]) -> None:
    weight = drawn("initialiser", "unit_rows", *shape, norm=1.3)
    torch.testing.assert_close(weight.norm(dim=1), torch.full((shape[0],), 1.3, dtype=torch.float64))


@pytest.mark.technique("initialiser=uniform", "bias_initialiser=uniform")
@pytest.mark.parametrize(("group", "shape"), [("initialiser", (200, 50)), ("bias_initialiser", (5000,))])
def test_uniform_is_what_torch_nn_draws(group: str, shape: tuple[int, ...]) -> None:
    values, bound = drawn(group, "uniform", *shape), 1 / math.sqrt(30)
    assert 0.99 * bound < values.abs().max().item() <= bound
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    module = nn.LSTM(2, 30)
    assert max(p.abs().max().item() for p in module.parameters()) == pytest.approx(bound, rel=0.02)


# Optimisers


def population(option: str, seeds: tuple[int, ...] = (0, 1), **changes: object) -> Population:
    made = component("optimiser", option, **changes)
    replicas = len(seeds)
    cell = drawn_cell("rnn", replicas=replicas)
    model = net_of(cell, outputs=1).double()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(uniform(*parameter.shape, seed=50 + k))
    return Population(model, list(seeds), made, NoClipping())


FINE = torch.tensor([True, True])


def quadratic_gradients(trained: Population) -> list[Tensor]:
    """Of half the squared distance from 3."""
    return [p.detach() - 3.0 for p in trained.stacked]


def distance(trained: Population) -> float:
    return sum((p.detach() - 3.0).square().sum().item() for p in trained.stacked)


@pytest.mark.parametrize("option", options("optimiser"))
def test_an_optimiser_goes_down_a_quadratic(option: str) -> None:
    trained = population(option, lr={"adadelta": 10.0, "adafactor": 0.1, "adagrad": 0.1, "muon": 0.1}.get(option, 0.01))
    distances = [distance(trained)]
    for _ in range(12):
        trained.step(quadratic_gradients(trained), FINE, 1.0)
        distances.append(distance(trained))
    assert all(later < earlier for earlier, later in itertools.pairwise(distances))
    assert distances[-1] < 0.95 * distances[0]


@pytest.mark.parametrize("option", options("optimiser"))
def test_recurrent_lr_factor_zero_leaves_the_recurrent_weights_and_nothing_else(option: str) -> None:
    trained = population(option, recurrent_lr_factor=0.0)
    before = trained.backup()
    for _ in range(3):
        trained.step(quadratic_gradients(trained), FINE, 1.0)
    for name, old, new in zip(trained.names, before, trained.stacked, strict=True):
        assert torch.equal(old, new) == (name == "cell.weight_recurrent"), name


@pytest.mark.parametrize("option", options("optimiser"))
def test_a_step_is_proportional_to_the_learning_rate_and_the_schedule_s_factor(option: str) -> None:
    moves = []
    for lr, factor in ((0.01, 1.0), (0.02, 0.5), (0.01, 0.0)):
        trained = population(option, lr=lr)
        before = trained.backup()
        trained.step(quadratic_gradients(trained), FINE, factor)
        moves.append([new.detach() - old for old, new in zip(before, trained.stacked, strict=True)])
    for full, halved, none in zip(*moves, strict=True):
        torch.testing.assert_close(full, halved, rtol=1e-12, atol=1e-15)
        assert (full != 0).all()
        assert (none == 0).all()


@pytest.mark.parametrize("option", options("optimiser"))
def test_an_unhealthy_replica_stays_and_the_other_is_as_alone(option: str) -> None:
    trained = population(option)
    before = trained.backup()
    for first in (False, True, True):  # once unhealthy, always unhealthy
        healthy_R = trained.step(quadratic_gradients(trained), torch.tensor([first, True]), 1.0)
        assert healthy_R.tolist() == [False, True]
    solo = population(option, seeds=(1,))
    with torch.no_grad():
        for one, many in zip(solo.stacked, before, strict=True):
            one.copy_(many[1:])
    for _ in range(3):
        solo.step(quadratic_gradients(solo), torch.tensor([True]), 1.0)
    for old, new, alone in zip(before, trained.stacked, solo.stacked, strict=True):
        assert torch.equal(old[0], new[0])
        assert torch.equal(new[1], alone[0])


# Tasks

VARIANTS = [("plain", {}), ("short", {"shortest": 3}), ("fixed set", {"examples": 20})]
TASKS = [
    pytest.param(option, changes, id=f"{option}, {name}")
    for option in options("task")
    for name, changes in VARIANTS
    if set(changes) <= set(leaf("task", option))
]
each_task = pytest.mark.parametrize(("option", "changes"), TASKS)


def made_task(option: str, changes: dict, **more: object) -> Task:
    sizes = {"length": 12} if "length" in leaf("task", option) else {}
    return component("task", option, **{**sizes, "batch": 5, **changes, **more})


def same(a: Batch, b: Batch) -> bool:
    pairs = ((a.input, b.input), (a.target, b.target), (a.mask, b.mask))
    return all(x is y if x is None or y is None else torch.equal(x, y) for x, y in pairs)


@each_task
def test_a_task_s_batch_has_the_shapes_it_declares(option: str, changes: dict) -> None:
    task = made_task(option, changes)
    evaluation = list(task.evaluation_batches(7))
    assert sum(batch.input.shape[1] for batch in evaluation) == 7
    for batch, B in [(task.training_batch(0, 1), 5), *((e, e.input.shape[1]) for e in evaluation)]:
        assert batch.input.shape == (task.steps, B, task.inputs)
        assert batch.input.is_floating_point()
        assert torch.isfinite(batch.input).all()
        assert batch.target.shape == (task.scored, B)
        assert (batch.mask is None) == ("shortest" not in changes)
        if batch.mask is not None:
            assert batch.mask.shape == (task.steps, B)
            assert batch.mask.dtype == torch.bool
            assert batch.mask[-1].all(), "sequences end together"
            assert (batch.mask[1:] >= batch.mask[:-1]).all(), "and have no gaps"
        if not batch.target.is_floating_point():
            assert batch.target.min() >= 0
            assert batch.target.max() < task.outputs


@each_task
def test_a_training_batch_is_a_function_of_seed_and_step(option: str, changes: dict) -> None:
    task = made_task(option, changes)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    later, first = task.training_batch(3, 2), task.training_batch(3, 1)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    again = made_task(option, changes)
    assert same(again.training_batch(3, 1), first)
    assert same(again.training_batch(3, 2), later)
    assert not same(first, later)
    assert not same(first, task.training_batch(4, 1))


@each_task
def test_evaluation_examples_are_always_the_same(option: str, changes: dict) -> None:
    one, other = made_task(option, changes), made_task(option, changes)
    one.training_batch(0, 1)
    batches = list(one.evaluation_batches(300))
    assert all(same(a, b) for a, b in zip(batches, other.evaluation_batches(300), strict=True))
    start = next(iter(other.evaluation_batches(250)))
    assert same(batches[0], start), "more examples begin with the same ones"


@each_task
def test_losses_and_metrics_are_per_replica_and_example(option: str, changes: dict) -> None:
    task, seeds = made_task(option, changes), [0, 1, 2]
    batches = [task.training_batch(seed, 1) for seed in seeds]
    prediction = uniform(3, task.scored, 5, task.outputs, seed=6, dtype=torch.float32)
    loss, metric = (f(prediction, stack(batches)) for f in (task.losses, task.metrics))
    assert loss.shape == metric.shape == (3, 5)
    assert (loss >= 0).all()
    assert ((metric >= 0) & (metric <= 1)).all()
    for r in seeds:
        alone = stack([batches[r]])
        assert torch.equal(task.losses(prediction[r : r + 1], alone), loss[r : r + 1])
        assert torch.equal(task.metrics(prediction[r : r + 1], alone), metric[r : r + 1])


@each_task
def test_marked_steps_are_steps_that_the_examples_have(option: str, changes: dict) -> None:
    task = made_task(option, changes)
    if not isinstance(task, Marks):
        pytest.skip("it marks no steps")
    batches = [task.training_batch(seed, 1) for seed in (0, 1)]
    marked = task.marked(stack(batches))
    assert marked.dtype == torch.bool
    assert marked.shape == (task.steps, 2, 5)
    assert marked.any(0).all()
    assert not marked.all(0).any()
    for r, batch in enumerate(batches):
        assert torch.equal(task.marked(batch), marked[:, r])
        assert batch.mask is None or not (marked[:, r] & ~batch.mask).any()


@each_task
def test_a_task_says_what_it_is(option: str, changes: dict) -> None:
    task = made_task(option, changes)
    assert math.isfinite(task.baseline)
    assert task.baseline > 0
    for words in (task.metric.name, task.metric.unit, task.unit, task.solved_when):
        assert isinstance(words, str)
        assert words
    text = task.describe(generator(0, "example"))
    assert "input" in text
    assert "target" in text
    assert text == task.describe(generator(0, "example"))
    assert task.solved(0.0, 1.0)
    assert not task.solved(task.baseline, 0.0)


@pytest.mark.technique("initialiser=henaff")
def test_henaff_rotates_pairs_of_units_by_less_than_its_spread() -> None:
    weight = drawn("initialiser", "henaff", 7, 7, spread=0.25)
    assert torch.equal(weight[6], torch.eye(7, dtype=torch.float64)[6]), "a last odd unit keeps its value"
    blocks = [weight[i : i + 2, i : i + 2] for i in (0, 2, 4)]
    torch.testing.assert_close(torch.block_diag(*blocks), weight[:6, :6], rtol=0, atol=0)
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(2, dtype=torch.float64))
        assert torch.linalg.det(block) > 0
        assert abs(math.atan2(block[1, 0], block[0, 0])) < 0.25 * math.pi


@pytest.mark.technique("bias_initialiser=zeros")
def test_zeros_are_zero() -> None:
    assert not drawn("bias_initialiser", "zeros", 5).any()
