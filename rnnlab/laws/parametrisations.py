"""Laws of parametrisations of recurrent weights."""

import torch
from torch import Tensor

from rnnlab.laws.ground import uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import NotConcernedError, hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts

H = 4


def _begun(subject: Subject) -> tuple[Parametrisation, Tensor, Parts, Parts]:
    made = subject.make(steps=9)
    drawn = 3 * uniform(H if made.square else 1, H, seed=1)
    return made, drawn, *made.begin(drawn.clone())


@observed("parametrisation")
def _weights(subject: Subject) -> list[Tensor]:
    made, _, trained, fixed = _begun(subject)
    moved = {name: part + 0.1 * uniform(*part.shape, seed=2) for name, part in trained.items()}
    return [made.weight(**trained, **fixed), made.weight(**moved, **fixed)]


@law("parametrisation")
def the_effective_weight_has_the_block_s_shape(subject: Subject) -> None:
    made, drawn, trained, fixed = _begun(subject)
    weight = made.weight(**trained, **fixed)
    shape = tuple(weight.shape)
    hold(shape == tuple(drawn.shape), f"W is {shape} of a block {tuple(drawn.shape)}")
    hold(torch.isfinite(weight).all(), "W is not finite")
    hold(trained, "nothing is trained")


@law("parametrisation")
def what_begins_as_an_effective_weight_is_that_weight(subject: Subject) -> None:
    made, _, trained, fixed = _begun(subject)
    weight = made.weight(**trained, **fixed)
    again, kept = made.begin(weight.detach().clone())
    torch.testing.assert_close(made.weight(**again, **kept), weight, rtol=1e-6, atol=1e-6)


@law("parametrisation")
def gradients_pass_finite_differences(subject: Subject) -> None:
    made, _, trained, fixed = _begun(subject)
    if not made.acts:
        raise NotConcernedError
    names = list(trained)
    # From a point that is no edge of what W may be: there a gradient may be one-sided.
    inside = made.begin(0.5 * uniform(H if made.square else 1, H, seed=3))[0]
    values = [(inside[name] + 0.01 * uniform(*inside[name].shape, seed=4)).requires_grad_() for name in names]

    def weight(*values: Tensor) -> Tensor:
        return made.weight(**dict(zip(names, values, strict=True)), **fixed)

    torch.autograd.gradcheck(weight, values)


@law("parametrisation")
def a_draw_decides_alone(subject: Subject) -> None:
    _, _, first, first_fixed = _begun(subject)
    before = torch.get_rng_state()
    _, _, second, second_fixed = _begun(subject)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    for name, part in {**first, **first_fixed}.items():
        hold_same({**second, **second_fixed}[name], part, f"{name} of the same draw")
