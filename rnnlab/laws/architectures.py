"""Laws of architectures.

T time, K trailing steps, R replica, B batch, H hidden.
"""

import torch
from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, Sizes
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.cells.cell import Cell
from rnnlab.laws.ground import drawn_cell, right_aligned_mask, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, law
from rnnlab.laws.subject import Subject

T = 20
"""Enough for four layers whose dilations double."""


def _net(architecture: Architecture, replicas: int = 1) -> Model:
    """Of drawn Elman nets, no two alike."""
    numbers = iter(range(99))

    def cell(inputs: int) -> Cell:
        return drawn_cell("rnn", inputs=inputs, replicas=replicas, seed=next(numbers))

    sizes = Sizes(replicas=replicas, inputs=3, outputs=2, hidden=4, activation=lambda units: nn.Tanh())
    net = Model(architecture, cell, sizes).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(net.named_parameters()):
            if not (parameter.any() or "_output" in name):  # of a part that is no cell
                parameter.copy_(uniform(*parameter.shape, seed=k))
    return net


def _passage(mask_TRB: Tensor | None = None) -> Passage:
    return Passage(autograd_engine("laws"), scored=2, mask_TRB=mask_TRB)


@observed("architecture")
def _outputs(subject: Subject) -> list[Tensor]:
    net = _net(subject.make(steps=T))
    output = net.architecture.run(net.parts, uniform(T, 1, 2, 3, seed=1), _passage())
    return [output[-1], output]


@law("architecture")
def the_readout_sees_the_scored_steps_at_the_width_that_it_says(subject: Subject) -> None:
    net, passage = _net(subject.make(steps=T), replicas=2), _passage(mask_TRB=right_aligned_mask(T, 2, 3))
    output = net.architecture.run(net.parts, uniform(T, 2, 3, 3, seed=1), passage)
    K, R, B, width = output.shape
    hold((R, B) == (2, 3) and 1 <= K <= T, f"(K, R, B, H') is {tuple(output.shape)} of 2 replicas and 3 examples")
    hold(width == net.architecture.width(net.parts), f"it is {width} wide, not {net.architecture.width(net.parts)}")


@law("architecture")
def every_cell_is_called_by_its_name_and_learns(subject: Subject) -> None:
    net, passage = _net(subject.make(steps=T), replicas=2), _passage()
    net.architecture.run(net.parts, uniform(T, 2, 3, 3, seed=1), passage).square().sum().backward()
    called = {call.name: call.cell for call in passage.calls}
    hold(called == net.cells, f"calls of {sorted(called)}; the cells are {sorted(net.cells)}")
    for name, parameter in net.named_parameters():
        if "_output" not in name:
            learns = parameter.grad is not None and torch.count_nonzero(parameter.grad)
            hold(learns, f"no gradient reaches {name}")
