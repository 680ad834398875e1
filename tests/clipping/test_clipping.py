"""Clipping of parameter gradients: the bound holds, below it nothing changes, twice is once, per replica."""

import copy

import numpy as np
import pytest
import torch
from support import DTYPES, component, drawn_cell, net_of, options, uniform
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.clipping.agc import unit_norm
from rnnlab.clipping.block_norm import blocks
from rnnlab.clipping.gradient_step import GradientStep, gradient_norm

R, BOUND = 4, 0.5
BOUNDED = {
    "norm": {"max_norm": BOUND},
    "value": {"max_value": BOUND},
    "block_norm": {"max_norm": BOUND},
    "pascanu": {"max_norm": BOUND},
    "agc": {"ratio": BOUND, "eps": 1.0, "readout": True},
}


def model(replicas: int = R, dtype: torch.dtype = torch.float64) -> Model:
    """An LSTM and a readout whose every parameter is drawn."""
    made = net_of(drawn_cell("lstm", replicas=replicas, dtype=dtype), outputs=2).to(dtype)
    with torch.no_grad():
        for k, parameter in enumerate(made.parameters()):
            parameter.copy_(uniform(R, *parameter.shape[1:], seed=50 + k)[:replicas])
    return made


def given(dtype: torch.dtype = torch.float64, seed: int = 0, sizes: tuple = (1e3, 5.0, 0.01, 1e-6)) -> GradientStep:
    """Replica 0 far above any bound, 1 above it, 2 and 3 below."""
    made, size_R = model(dtype=dtype), torch.tensor(sizes, dtype=dtype).view(R, 1, 1)
    named = enumerate(made.named_parameters())
    gradients = {n: uniform(*p.shape, seed=100 * seed + k, dtype=dtype) * size_R for k, (n, p) in named}
    norm_R = gradient_norm([*gradients.values()])
    return GradientStep(made, gradients, norm_R, torch.ones(R, dtype=torch.bool), {})


def only(step: GradientStep, r: int) -> GradientStep:
    """The step that replica r would have alone."""
    one = slice(r, r + 1)
    dtype = step.gradients["cell.bias"].dtype
    single = model(1, dtype)
    with torch.no_grad():
        for parameter, all_of_them in zip(single.parameters(), step.model.parameters(), strict=True):
            parameter.copy_(all_of_them[one])
    gradients = {name: g[one].clone() for name, g in step.gradients.items()}
    return GradientStep(single, gradients, step.norm_R[one].clone(), step.usable_R[one].clone(), {})


def clip(option: str, step: GradientStep, **hyper: float) -> tuple[dict[str, Tensor], Tensor]:
    """(clipped gradients, which replicas were clipped); what is given stays."""
    taken = copy.deepcopy(step)
    clipped_R = component("clipping", option, **{**BOUNDED.get(option, {}), **hyper})(taken)
    return taken.gradients, clipped_R


def excess(option: str, step: GradientStep, gradients: dict[str, Tensor]) -> Tensor:
    """What the option bounds, in units of its bound; (R,), the largest."""
    if option in ("norm", "pascanu"):
        return gradient_norm([*gradients.values()]) / BOUND
    if option == "value":
        return torch.stack([g.abs().flatten(1).amax(1) for g in gradients.values()]).amax(0).double() / BOUND
    if option == "agc":
        whole = {n: "weight" in n for n in gradients}
        norms = [
            unit_norm(gradients[n], whole[n]) / unit_norm(p, whole[n]).clamp(min=1.0)
            for n, p in step.model.named_parameters()
        ]
        return torch.stack([n.flatten(1).amax(1) for n in norms]).amax(0) / BOUND
    parts = GradientStep(step.model, gradients, step.norm_R, step.usable_R, {})
    return torch.stack([gradient_norm([b]) for name in gradients for b in blocks(parts, name)]).amax(0) / BOUND


@pytest.mark.technique("clipping=norm", "clipping=value", "clipping=block_norm", "clipping=pascanu", "clipping=agc")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", BOUNDED)
def test_the_bound_holds_and_below_it_nothing_changes(option: str, dtype: torch.dtype) -> None:
    step = given(dtype)
    result, clipped_R = clip(option, step)
    slack = 4 * torch.finfo(dtype).eps
    assert (excess(option, step, result) <= 1 + slack).all()
    assert clipped_R.tolist() == (excess(option, step, step.gradients) > 1).tolist() == [True, True, False, False]
    for name, before in step.gradients.items():
        assert torch.equal(before[~clipped_R], result[name][~clipped_R])
        assert result[name].dtype == dtype
    reached = excess(option, step, result)[clipped_R]
    torch.testing.assert_close(reached, torch.ones(2).double(), rtol=slack, atol=0)


@pytest.mark.parametrize("option", BOUNDED)
def test_twice_is_once(option: str) -> None:
    step = given()
    once, _ = clip(option, step)
    again = GradientStep(step.model, once, gradient_norm([*once.values()]), step.usable_R, {})
    for name, value in clip(option, again)[0].items():
        torch.testing.assert_close(value, once[name], rtol=1e-15, atol=0)


def test_norm_keeps_the_direction_over_all_parameters() -> None:
    step = given()
    result, _ = clip("norm", step)
    ratios = torch.cat([(result[n] / g).flatten(1) for n, g in step.gradients.items()], dim=1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))


def test_value_changes_only_the_components_above_it() -> None:
    step = given()
    for name, value in clip("value", step)[0].items():
        assert torch.equal(value, step.gradients[name].clamp(-BOUND, BOUND))


@pytest.mark.technique("clipping=none")
def test_none_leaves_everything() -> None:
    step = given()
    result, clipped_R = clip("none", step)
    assert not clipped_R.any()
    assert all(torch.equal(result[name], g) for name, g in step.gradients.items())


@pytest.mark.technique("clipping=norm")
def test_norm_agrees_with_torch() -> None:
    step = given()
    result, _ = clip("norm", step)
    for r in range(R):
        parameters = {name: torch.nn.Parameter(g[r].clone()) for name, g in step.gradients.items()}
        for name, parameter in parameters.items():
            parameter.grad = step.gradients[name][r].clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), BOUND)
        torch.testing.assert_close(norm, step.norm_R[r])
        for name, parameter in parameters.items():  # torch adds 1e-6 to the norm
            torch.testing.assert_close(parameter.grad, result[name][r], rtol=1e-5, atol=0)


@pytest.mark.technique("clipping=block_norm")
def test_block_norm_scales_each_gate_by_itself() -> None:
    step = given(sizes=(0.01, 0.01, 0.01, 0.01))
    cell = step.model.cell
    cell.block(step.gradients["cell.weight_recurrent"], "forget").mul_(1e4)
    result, clipped_R = clip("block_norm", step)
    assert clipped_R.all()
    for name, before in step.gradients.items():
        changed = (result[name] != before).any(0).any(0)
        if name == "cell.weight_recurrent":
            at = cell.blocks.index("forget") * cell.hidden
            assert changed.nonzero().flatten().tolist() == [*range(at, at + cell.hidden)]
        else:
            assert not changed.any()


@pytest.mark.technique("clipping=agc")
def test_agc_bounds_each_unit_beside_its_weights_and_spares_the_readout() -> None:
    step = given()
    result, _ = clip("agc", step, ratio=0.01, eps=0.001, readout=False)
    for name in ("weight_output", "bias_output"):
        assert torch.equal(result[name], step.gradients[name])
    weights = dict(step.model.named_parameters())
    for name in ("cell.weight_input", "cell.weight_recurrent"):
        for r, unit in np.ndindex(R, weights[name].shape[-1]):
            g, w = step.gradients[name][r, :, unit], weights[name][r, :, unit].detach()
            bound = 0.01 * max(w.norm().item(), 0.001)
            expected = g * min(1.0, bound / g.norm().item())
            torch.testing.assert_close(result[name][r, :, unit], expected)
    bias, bound = step.gradients["cell.bias"][0, 0], 0.01 * weights["cell.bias"][0].norm().item()
    torch.testing.assert_close(result["cell.bias"][0, 0], bias * bound / bias.norm(), msg="a vector is one unit")


def test_agc_lets_weights_of_zero_grow() -> None:
    step = given()
    with torch.no_grad():
        step.model.cell.weight_recurrent.zero_()
    result, _ = clip("agc", step, ratio=0.5, eps=0.001)
    torch.testing.assert_close(result["cell.weight_recurrent"][0].norm(dim=0), torch.full((16,), 0.0005).double())


def through(option: str, norms: list[float], **hyper: float) -> list[float]:
    """The norms after clipping of a gradient that has these norms at successive steps."""
    rule, memory, found = component("clipping", option, **hyper), {}, []
    for norm in norms:
        step = given(seed=1, sizes=(1.0, 1.0, 1.0, 1.0))
        for gradient in step.gradients.values():
            gradient.mul_((norm / step.norm_R).view(R, 1, 1))
        step = GradientStep(step.model, step.gradients, step.norm_R.new_full((R,), norm), step.usable_R, memory)
        rule(step)
        found.append(gradient_norm([*step.gradients.values()])[0].item())
    return found


@pytest.mark.technique("clipping=autoclip")
@pytest.mark.parametrize("percentile", [0.0, 10.0, 37.5, 100.0])
def test_autoclip_bounds_by_the_percentile_of_all_norms_so_far(percentile: float) -> None:
    norms = (uniform(40, seed=3).exp() ** 3).tolist()
    expected = [min(n, np.percentile(norms[: k + 1], percentile)) for k, n in enumerate(norms)]
    np.testing.assert_allclose(through("autoclip", norms, percentile=percentile), expected, rtol=1e-12)


@pytest.mark.technique("clipping=zclip")
def test_zclip_brings_outliers_to_the_mean_plus_z_max_squared_deviations_over_z() -> None:
    norms = [*(1.0 + 0.1 * uniform(30, seed=4)).tolist(), 30.0, 1.2, 1.4, 0.5, 3.0, 1.0]
    mean, variance, expected = np.mean(norms[:25]), np.var(norms[:25]), norms[:25]
    for norm in norms[25:]:
        z = (norm - mean) / variance**0.5
        bound = mean + 2.5**2 / z * variance**0.5 if z > 2.5 else norm
        mean = 0.97 * mean + 0.03 * bound
        variance = 0.97 * variance + 0.03 * (bound - mean) ** 2
        expected.append(bound)
    assert sum(e < n for e, n in zip(expected, norms, strict=True)) >= 3
    np.testing.assert_allclose(through("zclip", norms), expected, rtol=1e-12)


@pytest.mark.technique("clipping=pascanu")
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e11])
def test_pascanu_shrinks_recurrent_weights_where_the_norm_is_not_believed(wrong: float) -> None:
    step = given()
    step.gradients["cell.bias"][2] = wrong
    step.norm_R[2] = wrong
    step.usable_R[2] = False
    clipped_R = component("clipping", "pascanu", shrink=0.1)(step)
    assert step.usable_R.all(), "the replica may be updated"
    assert clipped_R[2]
    for name, gradient in step.gradients.items():
        expected = 0.1 * step.model.cell.weight_recurrent[2] if "recurrent" in name else torch.zeros_like(gradient[2])
        assert torch.equal(gradient[2], expected)


def test_agc_takes_a_unit_s_one_input_weight_for_its_incoming_weights() -> None:
    """And not the weights of all units for one: an exploding unit leaves the others alone."""
    made = net_of(drawn_cell("lstm", inputs=1), outputs=2).double()
    gradients = {n: torch.zeros_like(p) for n, p in made.named_parameters()}
    gradients["cell.weight_input"][0, 0, :2] = torch.tensor([1000.0, 1e-4])
    step = GradientStep(made, gradients, gradient_norm([*gradients.values()]), torch.ones(1, dtype=torch.bool), {})
    result, _ = clip("agc", step, ratio=0.01, eps=1e-3)
    weight = made.cell.weight_input[0, 0].detach()
    assert result["cell.weight_input"][0, 0, 0] == pytest.approx(0.01 * max(abs(weight[0].item()), 1e-3))
    assert result["cell.weight_input"][0, 0, 1] == pytest.approx(1e-4, rel=1e-6)


def test_block_norm_keeps_gates_apart_under_a_parametrisation_too() -> None:
    made = net_of(drawn_cell("lstm"), outputs=2).double()
    made.parametrise(component("parametrisation", "exponential"))
    gradients = {n: torch.zeros_like(p) for n, p in made.named_parameters()}
    (name,) = (n for n in gradients if ".parametrised." in n)
    gradients[name][0, 0, 0], gradients[name][0, 1, 0] = 1e6, 0.25
    step = GradientStep(made, gradients, gradient_norm([*gradients.values()]), torch.ones(1, dtype=torch.bool), {})
    result, _ = clip("block_norm", step)
    assert result[name][0, :, 0].tolist() == [pytest.approx(BOUND), 0.25, 0.0, 0.0]


def test_a_parameter_without_entries_is_no_obstacle() -> None:
    """What a parametrisation has below the diagonal of one unit's block."""
    made = net_of(drawn_cell("rnn", hidden=1), outputs=2).double()
    made.parametrise(component("parametrisation", "exponential"))
    gradients = {n: torch.ones_like(p) for n, p in made.named_parameters()}
    assert min(g.numel() for g in gradients.values()) == 0
    for option in options("clipping"):
        if option not in ("agc", "pascanu"):  # refused with a parametrisation
            step = GradientStep(made, copy.deepcopy(gradients), torch.ones(1).double(), torch.ones(1).bool(), {})
            component("clipping", option)(step)
