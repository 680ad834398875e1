"""Laws of initialisers, of weights and of biases."""

import torch
from torch import Generator, Tensor

from rnnlab.cells.cell import initialise_cell
from rnnlab.laws.ground import component, drawn_cell
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.streams import generator

WEIGHTS = ("initialiser", "input_initialiser", "output_initialiser")


@observed(*WEIGHTS)
def _weight(subject: Subject) -> list[Tensor]:
    weight = torch.zeros(4, 4)
    with torch.no_grad():
        subject.make(units=4, steps=20)(weight, generator(0, "init"))
    return [weight]


@observed("bias_initialiser")
def _bias(subject: Subject) -> list[Tensor]:
    cell, draw = drawn_cell("lstm"), component("initialiser", "uniform", {"units": 4})
    initialise_cell(cell, 0, draw, draw, subject.make(units=4, steps=20), generator(0, "init"))
    return [cell.bias]


def drawn(subject: Subject, stream: Generator) -> Tensor:
    """A block of a cell with 30 units."""
    tensor = torch.full((30,) if subject.group == "bias_initialiser" else (30, 30), 7.0, dtype=torch.float64)
    with torch.no_grad():
        given = subject.make(units=30, steps=20)(tensor, stream)
    hold(given is None, "it gives something back, and is to draw in place")
    return tensor


@law(*WEIGHTS, "bias_initialiser")
def it_draws_everything_from_the_generator_it_is_given(subject: Subject) -> None:
    before, stream = torch.get_rng_state(), generator(0, "init")
    fresh = stream.get_state()
    first = drawn(subject, stream)
    hold(torch.equal(before, torch.get_rng_state()), "it draws from torch's own generator")
    hold((first != 7).all(), "it leaves numbers as they were")
    hold(torch.isfinite(first).all(), "not all that it draws is finite")
    hold_same(drawn(subject, generator(0, "init")), first, "two draws of one seed")
    constant = torch.equal(fresh, stream.get_state())
    other = torch.equal(first, drawn(subject, generator(1, "init")))
    hold(other == constant, f"another seed gives {'the same' if other else 'another'} draw")
