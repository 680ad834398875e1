"""Laws of activations, by themselves and within cells."""

import torch
from torch import Tensor

from rnnlab.laws.cells import agree_with_the_oracle, as_alone, made, pass_finite_differences
from rnnlab.laws.company import USUAL
from rnnlab.laws.ground import draw, leaf, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, law
from rnnlab.laws.subject import Subject
from rnnlab.streams import generator


@observed("activation")
def _values(subject: Subject) -> list[Tensor]:
    made = subject.make(replicas=1, units=4)
    if hasattr(made, "initialise"):
        made.initialise(0, generator(0, "init"))
    return [made(torch.linspace(-2, 2, 20).view(1, 5, 4))]


@law("activation")
def it_acts_on_every_element_alone(subject: Subject) -> None:
    made = subject.make(replicas=2, units=5)
    values = uniform(2, 7, 5, seed=5, bound=3.0, dtype=torch.float32)
    result = made(values)
    hold(result.shape == values.shape, f"{tuple(values.shape)} becomes {tuple(result.shape)}")
    hold(result.dtype == values.dtype, f"{values.dtype} becomes {result.dtype}")
    changed = values.clone()
    changed[1, 3, 2] += 1
    moved = (made(changed) != result).nonzero().tolist()
    hold(moved in ([[1, 3, 2]], []), f"one element changed, and the results at {moved}")


def _cells() -> list[Subject]:
    return [Subject.of(leaf("cell", option), None, "cell") for option in USUAL]


@law("activation")
def a_cell_with_it_agrees_with_the_oracle(subject: Subject) -> None:
    for cell in _cells():
        agree_with_the_oracle(draw(made(cell, subject, replicas=2)))


@law("activation")
def a_cell_with_it_passes_finite_differences(subject: Subject) -> None:
    for cell in _cells():
        pass_finite_differences(draw(made(cell, subject, replicas=2, inputs=2, hidden=2)))


@law("activation")
def a_replica_of_a_cell_with_it_computes_as_alone_to_the_bit(subject: Subject) -> None:
    for cell in _cells():
        as_alone(cell, subject, "odd", "narrow")
