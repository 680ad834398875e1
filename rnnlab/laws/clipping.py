"""Laws of clipping rules.

R replica.
"""

import functools

import torch
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.clipping.gradient_step import Clipping, GradientStep, gradient_norm
from rnnlab.laws.ground import DTYPES, drawn_cell, net_of, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject

R = 4


@observed("clipping")
def _clipped(subject: Subject) -> list[Tensor]:
    rule, memory, result = subject.make(), dict[str, Tensor](), list[Tensor]()
    for number in range(40):
        step = _with(_step(seed=number, sizes=((number * 7 % 10) ** 4 + 0.1,) * R), memory)
        if number == 30:
            step.gradients["cell.bias"][1] = torch.inf
            step.norm_R[1] = torch.inf
        result += [rule(step), step.usable_R, *step.gradients.values()]
    return result


@functools.cache
def _models(dtype: torch.dtype) -> tuple[Model, list[Model]]:
    """An LSTM and a readout, whose every parameter is drawn, for R replicas; and each of these alone."""
    model, *singles = (net_of(drawn_cell("lstm", replicas=n), outputs=2).to(dtype) for n in (R, *[1] * R))
    with torch.no_grad():
        for k, (whole, *parts) in enumerate(zip(*(m.parameters() for m in (model, *singles)), strict=True)):
            whole.copy_(uniform(*whole.shape, seed=50 + k))
            for r, part in enumerate(parts):
                part.copy_(whole[r : r + 1])
    return model, singles


def _step(
    *, dtype: torch.dtype = torch.float64, seed: int = 0, sizes: tuple[float, ...] = (1e3, 5.0, 0.01, 1e-6)
) -> GradientStep:
    """Replicas have gradients of different sizes."""
    model, size_R = _models(dtype)[0], torch.tensor(sizes, dtype=dtype).view(R, 1, 1)
    named = enumerate(model.named_parameters())
    gradients = {n: uniform(*p.shape, seed=100 * seed + k, dtype=dtype) * size_R for k, (n, p) in named}
    return GradientStep(model, gradients, gradient_norm([*gradients.values()]), torch.ones(R, dtype=torch.bool), {})


def _alone(step: GradientStep, r: int, memory: dict[str, Tensor]) -> GradientStep:
    """The step that replica r would have alone."""
    one = slice(r, r + 1)
    gradients = {name: g[one].clone() for name, g in step.gradients.items()}
    model = _models(next(iter(gradients.values())).dtype)[1][r]
    return GradientStep(model, gradients, step.norm_R[one].clone(), step.usable_R[one].clone(), memory)


def _with(step: GradientStep, memory: dict[str, Tensor]) -> GradientStep:
    return GradientStep(step.model, step.gradients, step.norm_R, step.usable_R, memory)


@law("clipping")
def a_replica_is_clipped_as_alone_step_after_step(subject: Subject) -> None:
    for dtype in DTYPES:
        rule, memory = subject.make(), dict[str, Tensor]()
        memories: list[dict[str, Tensor]] = [{} for _ in range(R)]
        for number in range(35):
            sizes = (1e3, 5.0 * (number % 7), 0.01, 1.0 + 40 * (number == 30))
            step = _with(_step(dtype=dtype, seed=number, sizes=sizes), memory)
            singles = [_alone(step, r, memories[r]) for r in range(R)]
            _hold_as_alone(rule, step, singles, f"at step {number}")


def _hold_as_alone(rule: Clipping, step: GradientStep, singles: list[GradientStep], when: str) -> None:
    clipped_R = rule(step)
    form = (clipped_R.dtype, tuple(clipped_R.shape))
    hold(form == (torch.bool, (R,)), f"which are clipped is {form}, not one bool for each of {R} replicas")
    for r, single in enumerate(singles):
        hold(rule(single).tolist() == [clipped_R[r]], f"replica {r} is clipped {when} in a population or alone only")
        for name, gradient in single.gradients.items():
            hold_same(step.gradients[name][r], gradient[0], f"{name} of replica {r} {when} in a population, and alone")
        for name, value in single.memory.items():
            hold_same(step.memory[name][r], value[0], f"the memory {name} of replica {r} {when}, and alone")


@law("clipping")
def a_replica_that_blows_up_does_not_touch_the_others(subject: Subject) -> None:
    expected = _step()
    subject.make()(expected)
    for wrong in (float("nan"), float("inf")):
        step = _step()
        step.gradients["cell.weight_recurrent"][0, 0, 0] = wrong
        step.norm_R[0] = wrong
        subject.make()(step)
        for name, value in expected.gradients.items():
            hold_same(step.gradients[name][1:], value[1:], f"{name} of the others, beside {wrong}")


@law("clipping")
def a_gradient_of_zero_stays_zero(subject: Subject) -> None:
    rule, memory = subject.make(), dict[str, Tensor]()
    for number in range(30):
        step = _with(_step(sizes=(0.0,) * R), memory)
        hold(not rule(step).any(), f"it is clipped at step {number}")
        for name, gradient in step.gradients.items():
            hold((gradient == 0).all(), f"{name} is not zero at step {number}")
