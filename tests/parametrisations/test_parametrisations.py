"""Parametrised recurrent weights: what they begin as, what they stay, and how gradients pass through them."""

import pytest
import torch
from moments import moment, small_experiment
from support import component, composed, drawn_cell, options, uniform
from torch import Tensor

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.parametrisations.parametrisation import Parametrisation
from rnnlab.schema import validate
from rnnlab.training.population import Population

H = 6
ALL = [option for option in options("parametrisation") if option != "none"]
SQUARE = [option for option in ALL if option != "bounded"]
ORTHOGONAL = ["cayley", "exponential", "householder"]
each = pytest.mark.parametrize("option", ALL)


def made(option: str, **changes: object) -> Parametrisation:
    return component("parametrisation", option, {"steps": 9}, **changes)


def drawn(option: str, seed: int = 0, bound: float = 1.0) -> Tensor:
    return uniform(*((1, H) if option == "bounded" else (H, H)), seed=seed, bound=bound)


def orthogonal(seed: int = 0) -> Tensor:
    return torch.linalg.qr(uniform(H, H, seed=seed))[0]


def moved(parametrisation: Parametrisation, start: Tensor, steps: int = 200) -> Tensor:
    """W after so many large random updates."""
    trained, fixed = parametrisation.begin(start)
    for step in range(steps):
        for k, part in enumerate(trained.values()):
            part += uniform(*part.shape, seed=10 * step + k, bound=0.3)
    return parametrisation.weight(**trained, **fixed)


@pytest.mark.parametrize("option", [o for o in SQUARE if o != "antisymmetric"])
@pytest.mark.parametrize("sign", [1, -1])
def test_w_begins_as_an_orthogonal_draw(option: str, sign: int) -> None:
    start = orthogonal() * torch.tensor([sign, *[1] * (H - 1)])  # both determinants
    trained, fixed = (parametrisation := made(option)).begin(start)
    torch.testing.assert_close(parametrisation.weight(**trained, **fixed), start, rtol=0, atol=1e-13)


def test_w_begins_as_the_nearest_that_there_is() -> None:
    start = drawn("weight_norm")
    begins = {option: moved(made(option), start, steps=0) for option in SQUARE}
    torch.testing.assert_close(begins["weight_norm"], start)
    torch.testing.assert_close(begins["antisymmetric"] + 0.01 * torch.eye(H).double(), (start - start.T) / 2)
    torch.testing.assert_close(begins["spectral_norm"], start / torch.linalg.matrix_norm(start, ord=2))
    U, s, V = torch.linalg.svd(start)
    for option in ORTHOGONAL:
        torch.testing.assert_close(begins[option], U @ V, msg=option)
    within = U @ torch.diag(s.clamp(0.9002, 1.0998)) @ V
    torch.testing.assert_close(begins["almost_orthogonal"], within)
    narrow = U @ torch.diag(1 + 0.05 * uniform(H, seed=3)) @ V
    torch.testing.assert_close(moved(made("almost_orthogonal"), narrow, steps=0), narrow)
    inner = drawn("bounded", bound=1.05)
    torch.testing.assert_close(moved(made("bounded"), inner, steps=0), inner)


@pytest.mark.technique("parametrisation=cayley", "parametrisation=exponential", "parametrisation=householder")
@pytest.mark.parametrize("option", ORTHOGONAL)
def test_w_stays_orthogonal_to_rounding(option: str) -> None:
    W = moved(made(option), orthogonal())
    assert torch.linalg.matrix_norm(W.T @ W - torch.eye(H).double()) < 1e-12
    assert torch.linalg.matrix_norm(W - orthogonal()) > 0.5


@pytest.mark.technique("parametrisation=almost_orthogonal")
def test_singular_values_stay_in_their_band() -> None:
    values = torch.linalg.svdvals(moved(made("almost_orthogonal", radius=0.2), orthogonal()))
    assert values.max() <= 1.2
    assert values.min() >= 0.8
    assert values.max() - values.min() > 0.2


@pytest.mark.technique("parametrisation=spectral_norm")
def test_the_spectral_norm_stays() -> None:
    W = moved(made("spectral_norm", norm=0.7), drawn("spectral_norm"))
    assert torch.linalg.matrix_norm(W, ord=2).item() == pytest.approx(0.7)


@pytest.mark.technique("parametrisation=weight_norm")
def test_length_and_direction_are_apart() -> None:
    parametrisation = made("weight_norm")
    trained, _ = parametrisation.begin(drawn("weight_norm"))
    W = parametrisation.weight(length=trained["length"], direction=5 * trained["direction"])
    torch.testing.assert_close(W, drawn("weight_norm"))
    torch.testing.assert_close(parametrisation.weight(**{**trained, "length": 2 * trained["length"]}), 2 * W)


@pytest.mark.technique("parametrisation=antisymmetric")
def test_every_eigenvalue_has_minus_gamma_as_its_real_part() -> None:
    values = torch.linalg.eigvals(moved(made("antisymmetric", gamma=0.3), drawn("antisymmetric")))
    torch.testing.assert_close(values.real, torch.full_like(values.real, -0.3))


@pytest.mark.technique("parametrisation=bounded")
def test_t_steps_multiply_by_the_gain_at_most() -> None:
    W = moved(made("bounded", gain=3.0), drawn("bounded"))
    assert (W.abs() ** 9).max().item() == pytest.approx(3.0)
    assert (W.abs() ** 9).min() < 3


def test_what_lies_beyond_the_bound_can_come_back_and_goes_no_further() -> None:
    free = torch.tensor([[2.0, 2.0, -2.0, -2.0, 0.5]], dtype=torch.float64, requires_grad=True)
    slope = torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0]], dtype=torch.float64)
    made("bounded").weight(free=free).backward(slope)
    assert free.grad is not None
    assert free.grad.tolist() == [[1.0, 0.0, 0.0, -1.0, 1.0]]


@each
def test_gradients_pass_finite_differences(option: str) -> None:
    parametrisation = made(option)
    trained, fixed = parametrisation.begin(drawn(option, bound=0.5))
    start = [part + uniform(*part.shape, seed=k, bound=0.1) for k, part in enumerate(trained.values())]

    def weight(*parts: Tensor) -> Tensor:
        return parametrisation.weight(**dict(zip(trained, parts, strict=True)), **fixed)

    torch.autograd.gradcheck(weight, [part.requires_grad_() for part in start])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_gradient_of_a_loss_passes_finite_differences(cell: str) -> None:
    experiment = small_experiment(f"cell={cell}", "parametrisation=cayley", "seeds=1")
    model, batch = experiment.model([0]), experiment.task.training_batch(0, 1)
    given = batch.input.double().unsqueeze(1)

    def loss() -> Tensor:
        return experiment.engine.unroll(plain.cell, given, last=1).output_KRBH.square().sum()

    plain = model.effective()
    loss().backward()
    model.pull_back(plain)
    trained = model.get_parameter("cell.parametrised.below")
    slope, eps = trained.grad, 1e-6
    assert slope is not None
    values = []
    for change in (eps, -2 * eps):
        trained.data[0, -1, 4] += change
        plain = model.effective()
        values.append(loss().item())
    assert slope[0, -1, 4].item() == pytest.approx((values[0] - values[1]) / (2 * eps), rel=1e-5)
    assert slope[0, -1, 4] != 0


def test_training_keeps_every_block_orthogonal_and_probes_and_checkpoints_see_the_effective_weights() -> None:
    taken = moment("parametrisation=exponential", "optimiser.lr=0.1", steps=5)
    found = component("probe", "weights").measure(taken)
    names = {name for name, _ in taken.model.named_parameters()}
    assert names == set(taken.gradients) == set(taken.updates)
    for block in taken.model.cell.blocks:
        assert (found[f"{block}.distance_from_orthogonal"] < 1e-12).all()
        assert (found[f"{block}.drift"] > 0.1).all()
    experiment = small_experiment("parametrisation=exponential")
    population = Population(experiment.model([3, 4]), [3, 4], experiment.optimiser, experiment.clipping)
    weight = population.model.effective().cell.weight_recurrent
    assert torch.equal(population.weights(4)["cell.weight_recurrent"], weight[1])


def test_the_gradient_that_probes_see_is_that_of_the_effective_weights() -> None:
    """Added up over the time steps, which is how the contribution probe finds it, it is the whole."""
    taken = moment("parametrisation=exponential", "initialiser=xavier", steps=3)
    shares = component("probe", "contribution").measure(taken)["share"]
    torch.testing.assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64))
    figures = component("probe", "updates").measure(taken)
    assert all(torch.isfinite(value).all() for name, value in figures.items() if "previous" not in name)
    norm = torch.stack([g.flatten(1).norm(dim=1) for g in taken.trained_gradients.values()]).norm(dim=0)
    torch.testing.assert_close(figures["gradient_norm"], norm)


@pytest.mark.parametrize("option", ["exponential", "weight_norm"])
def test_the_recurrent_learning_rate_factor_is_that_of_what_is_trained_in_their_place(option: str) -> None:
    experiment = small_experiment(f"parametrisation={option}", "optimiser.recurrent_lr_factor=0")
    population = Population(experiment.model([0, 1]), [0, 1], experiment.optimiser, experiment.clipping)
    before = population.backup()
    population.step([torch.ones_like(p) for p in population.stacked], torch.tensor([True, True]), 1.0)
    for name, old, new in zip(population.names, before, population.stacked, strict=True):
        assert torch.equal(old, new) == (".parametrised." in name), name


def test_parameters_are_counted_as_they_are_trained() -> None:
    def count(option: str) -> int:
        config = validate(composed(f"parametrisation={option}", "cell=rnn", "match_parameters=2000"))
        found = build(config).match
        assert found is not None
        H, own = found.hidden, {"none": found.hidden**2, "cayley": found.hidden * (found.hidden - 1) // 2}
        assert found.parameters == own[option] + 2 * H + H + H + 1
        return H

    assert count("none") < count("cayley")


@pytest.mark.parametrize("option", SQUARE)
def test_a_resumed_population_has_the_fixed_parts_that_were_saved(option: str) -> None:
    """Another machine's decomposition need not give the same again: where singular values are equal it is rounding."""
    experiment = small_experiment(f"parametrisation={option}", "cell=lstm", "seeds=2")
    saved, resumed = (
        Population(experiment.model([0, 1]), [0, 1], experiment.optimiser, experiment.clipping) for _ in range(2)
    )
    state = saved.state_dict()
    state["active"] = [1]
    for name, buffer in resumed.model.named_buffers():
        buffer.neg_()
        for fixed in resumed.fixed.values():
            fixed[name].neg_()
    resumed.load_state_dict(state)
    saved.keep([1])
    assert torch.equal(saved.model.effective().cell.weight_recurrent, resumed.model.effective().cell.weight_recurrent)
    for seed in (0, 1):
        for name, value in saved.weights(seed).items():
            assert torch.equal(value, resumed.weights(seed)[name]), name


@pytest.mark.parametrize(
    ("option", "draw"),
    [
        ("weight_norm", ["initialiser=spectral_radius", "initialiser.nonzeros=1"]),
        ("weight_norm", ["initialiser=identity", "initialiser.scale=0"]),
        ("spectral_norm", ["initialiser=identity", "initialiser.scale=0"]),
    ],
)
def test_a_draw_without_direction_is_refused(option: str, draw: list[str]) -> None:
    experiment = small_experiment(f"parametrisation={option}", "cell=rnn", "cell.hidden=8", *draw)
    with pytest.raises(ConfigError, match=rf"^parametrisation={option}: not allowed with recurrent weights that "):
        experiment.model([0])


def test_what_does_not_fit_the_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"parametrisation=bounded: not allowed\. .* per unit; cell=lstm has 5 x 20"):
        small_experiment("cell=lstm", "parametrisation=bounded")


@pytest.mark.parametrize("override", ["clipping=agc", "clipping=pascanu", "optimiser=muon"])
def test_what_works_on_recurrent_matrices_is_refused_where_others_are_trained(override: str) -> None:
    with pytest.raises(ConfigError, match=rf"{override}: not allowed\. .*parametrisation=cayley"):
        small_experiment(override, "parametrisation=cayley")


def test_one_weight_per_unit() -> None:
    """As a cell with a vector of recurrent weights has it."""
    from rnnlab.parametrisations.recurrent import RecurrentWeights

    cell = drawn_cell("rnn", replicas=2)
    cell.weight_recurrent = torch.nn.Parameter(uniform(2, 1, 4, seed=5, bound=2.0))
    W = RecurrentWeights(made("bounded"), cell)()
    torch.testing.assert_close(W, cell.weight_recurrent.clamp(-(2 ** (1 / 9)), 2 ** (1 / 9)))
