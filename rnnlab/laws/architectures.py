"""Laws of architectures.

T time, K trailing steps, R replica, B batch, H hidden.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage, Update
from rnnlab.cells.cell import Cell
from rnnlab.laws.company import company_of
from rnnlab.laws.ground import drawn_cell, right_aligned_mask, uniform
from rnnlab.laws.knobs import observed
from rnnlab.laws.law import hold, law
from rnnlab.laws.subject import Subject

T = 20
"""Enough for four layers whose dilations double."""
IMAGE = (3, 4, 5)
"""Channels, and the rows and columns of T pixels."""
READOUT = ("weight_output", "bias_output")
"""Of the model, which no architecture sees."""


def _net(subject: Subject, replicas: int = 1) -> Model:
    """Of drawn cells that it goes with, Elman nets mostly, no two alike."""
    numbers, option = iter(range(99)), company_of(subject).cell

    def cell(inputs: int, **changes: Any) -> Cell:
        return drawn_cell(option, inputs=inputs, replicas=replicas, seed=next(numbers), **changes)

    sizes = Sizes(replicas=replicas, inputs=3, outputs=2, hidden=4, image=IMAGE, activation=lambda units: nn.Tanh())
    net = Model(subject.make(steps=T), cell, sizes).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(net.named_parameters()):
            if not parameter.any() and name not in READOUT:  # of a part that is no cell
                parameter.copy_(uniform(*parameter.shape, seed=k))
    return net


def _passage(mask_TRB: Tensor | None = None, **training: Any) -> Passage:
    return Passage(autograd_engine("laws"), scored=training.pop("scored", 2), mask_TRB=mask_TRB, **training)


@observed("architecture")
def _outputs(subject: Subject) -> list[Tensor]:
    """In evaluation, where some of many answers are better found by a search, and in a training step."""
    net, target_KRBO = _net(subject), torch.zeros(5, 1, 30, 2, dtype=torch.float64)
    target_KRBO[..., 0] = 1
    training = {"target_KRBO": target_KRBO, "update": Update([3], 1)}
    passages = [_passage(scored=5), _passage(scored=5, **training)]
    outputs = [net.architecture.run(net.parts, uniform(T, 1, 30, 3, seed=1), passage) for passage in passages]
    return [outputs[0][-1], *outputs]


@law("architecture")
def the_readout_sees_the_scored_steps_at_the_width_that_it_says(subject: Subject) -> None:
    net, passage = _net(subject, replicas=2), _passage(mask_TRB=right_aligned_mask(T, 2, 3))
    output = net.architecture.run(net.parts, uniform(T, 2, 3, 3, seed=1), passage)
    K, R, B, width = output.shape
    hold((R, B) == (2, 3) and 1 <= K <= T, f"(K, R, B, H') is {tuple(output.shape)} of 2 replicas and 3 examples")
    hold(width == net.architecture.width(net.parts), f"it is {width} wide, not {net.architecture.width(net.parts)}")


@law("architecture")
def every_cell_is_called_by_its_name_and_learns(subject: Subject) -> None:
    net, passage = _net(subject, replicas=2), _passage()
    net.architecture.run(net.parts, uniform(T, 2, 3, 3, seed=1), passage).square().sum().backward()
    called = {call.name: call.cell for call in passage.calls}
    hold(called == net.cells, f"calls of {sorted(called)}; the cells are {sorted(net.cells)}")
    for name, parameter in net.named_parameters():
        if name not in READOUT:
            learns = parameter.grad is not None and torch.count_nonzero(parameter.grad)
            hold(learns, f"no gradient reaches {name}")
