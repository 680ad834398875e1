"""Every knob moves something: changing any hyper-parameter of any component changes what one can observe.

For every group there is one observable, a list of tensors. The other value is made from the kind of value;
where that does not do, OTHER has it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moments import moment
from support import component, drawn_cell, gradient_step, leaf, leaves, net_of, uniform
from support import key as at
from torch import Tensor

from rnnlab.bptt.engine import autograd_engine
from rnnlab.bptt.passage import Passage
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell, initialise_cell
from rnnlab.clipping.none import NoClipping
from rnnlab.contract import keys_of
from rnnlab.dropout.dropout import Noise
from rnnlab.streams import generator
from rnnlab.tasks.task import stack
from rnnlab.timetable import Timetable
from rnnlab.training.population import Population

OTHER = {
    ("task", "shortest"): 4,
    ("task", "examples"): 60,
    ("adjoint", "halved"): 1.0,
    ("probe", "saturated"): 0.9,
    ("probe", "dead"): 1.0,
    ("probe", "examples"): 1,  # there are no more than four
    ("cell", "r_max"): 0.95,  # above r_min
    ("task", "source"): "npz",  # replaced by the path of a small file
    ("initialiser", "negative"): 0.5,
    ("initialiser", "nonzeros"): 2,
    ("bias_initialiser", "t_max"): 50,
    ("clipping", "eps"): 10.0,
    ("optimiser", "eps1"): 0.1,
    ("optimiser", "eps2"): 10.0,
    ("clipping", "largest"): 2.0,
}
CONTEXT = {"replicas": 1, "units": 4, "steps": 20}


def another(group: str, option: str, key: str, value: Any) -> Any:
    """An allowed value that differs from the one in the YAML."""
    if (group, key) in OTHER:
        return OTHER[group, key]
    kind = keys_of(at(group, option), leaf(group, option)["_target_"])[key]
    choices = getattr(kind, "__args__", ())
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return next(choice for choice in choices if choice != value)
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, float), f"no other value for {group}.{key}; add one to OTHER"
    return 0.5 * value if value else 0.1


def observe_cell(config: dict[str, Any]) -> list[Tensor]:
    hidden = config["hidden"]
    context = {"replicas": 1, "inputs": 3, "activation": lambda: component("activation", "tanh")}
    cell = component("cell", option_of(config), context, **hyper(config))
    draw = component("initialiser", "uniform", {"units": hidden})
    initialise_cell(cell, 0, draw, draw, draw, generator(0, "init"))
    return [unroll(cell, uniform(4, 1, 2, 3, seed=1, dtype=torch.float32)).output_KRBH]


def observe_architecture(config: dict[str, Any]) -> list[Tensor]:
    made = component("architecture", option_of(config), **hyper(config))
    cells = iter(range(99))

    def cell(inputs: int) -> Cell:
        return drawn_cell("rnn", inputs=inputs, seed=next(cells))

    passage = Passage(autograd_engine("tests"), scored=2)
    output = made.run(made.parts(cell, 3), uniform(6, 1, 2, 3, seed=1), passage)
    return [output[-1], output]


def observe_activation(config: dict[str, Any]) -> list[Tensor]:
    made = component("activation", option_of(config), CONTEXT, **hyper(config))
    if hasattr(made, "initialise"):
        made.initialise(0, generator(0, "init"))
    return [made(torch.linspace(-2, 2, 20).view(1, 5, 4))]


def observe_initialiser(config: dict[str, Any]) -> list[Tensor]:
    weight = torch.zeros(4, 4)
    with torch.no_grad():
        component("initialiser", option_of(config), CONTEXT, **hyper(config))(weight, generator(0, "init"))
    return [weight]


def observe_bias_initialiser(config: dict[str, Any]) -> list[Tensor]:
    cell = drawn_cell("lstm")
    draw = component("initialiser", "uniform", CONTEXT)
    bias = component("bias_initialiser", option_of(config), CONTEXT, **hyper(config))
    initialise_cell(cell, 0, draw, draw, bias, generator(0, "init"))
    return [cell.bias.detach()]


def observe_parametrisation(config: dict[str, Any]) -> list[Tensor]:
    made = component("parametrisation", option_of(config), {"steps": 9}, **hyper(config))
    drawn = 3 * uniform(4, 4, seed=1) if made.square else 3 * uniform(1, 4, seed=1)
    trained, fixed = made.begin(drawn)
    moved = {name: part + 0.1 * uniform(*part.shape, seed=2) for name, part in trained.items()}
    return [made.weight(**trained, **fixed), made.weight(**moved, **fixed)]


def observe_regulariser(config: dict[str, Any]) -> list[Tensor]:
    made, cell = component("regulariser", option_of(config), **hyper(config)), drawn_cell("rnn")
    inputs = uniform(6, 1, 2, 3, seed=1)
    passage = Passage(autograd_engine("tests", vectors=True), scored=1, whole=True)
    output = passage("cell", cell, inputs).output_KRBH
    (output[-1].square().sum() + 2 * made.before(passage).sum()).backward()
    made.after(passage)
    assert cell.weight_recurrent.grad is not None
    return [cell.weight_recurrent.grad]


def observe_dropout(config: dict[str, Any]) -> list[Tensor]:
    made, cell, inputs = (
        component("dropout", option_of(config), **hyper(config)),
        drawn_cell("lstm"),
        uniform(6, 1, 5, 3, seed=1),
    )
    noise = Noise([0], 1, inputs)
    dropped, seen = made.drop(cell, inputs, noise)
    return [made.drop_outputs(unroll(dropped, seen, last=2).output_KRBH, noise)]


def observe_clipping(config: dict[str, Any]) -> list[Tensor]:
    rule, memory, result = component("clipping", option_of(config), **hyper(config)), {}, []
    for number in range(40):
        step = gradient_step(bound=(number * 7 % 10) ** 4 + 0.1, seed=number, memory=memory)
        if number == 30:
            step.gradients["cell.bias"][1] = torch.inf
            step.norm_R[1] = torch.inf
        result += [rule(step), step.usable_R, *step.gradients.values()]
    return result


def observe_gradient_noise(config: dict[str, Any]) -> list[Tensor]:
    made, gradients = component("gradient_noise", option_of(config), **hyper(config)), [torch.zeros(1, 3, 4)]
    for step in (1, 2):
        made(gradients, [0], step)
    return gradients


def observe_adjoint(config: dict[str, Any]) -> list[Tensor]:
    cell = drawn_cell("lstm" if option_of(config) == "h_detach" else "rnn", "identity", bound=1.5)
    inputs = uniform(45, 1, 2, 3, seed=1)
    rule = component("adjoint", option_of(config), **hyper(config)).draw([0], 1, len(inputs), inputs)
    unrolled = unroll(cell, inputs, rule=rule, record=True, last=1)
    unrolled.output_KRBH.sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    return [unrolled.adjoint_norm_STRB]


def observe_optimiser(config: dict[str, Any]) -> list[Tensor]:
    model = net_of(drawn_cell("rnn"), outputs=2).double()
    trained = Population(model, [0], component("optimiser", option_of(config), **hyper(config)), NoClipping())
    for step in range(7):  # more than RAdam's first ones
        scale = 10.0 ** (-step)
        gradients = [uniform(*p.shape, seed=10 * step + k, bound=scale) for k, p in enumerate(trained.stacked)]
        trained.step(gradients, torch.tensor([True]), 1.0)
    return trained.backup()


def observe_schedule(config: dict[str, Any]) -> list[Tensor]:
    made = component("schedule", option_of(config), **hyper(config))
    return [torch.tensor([made.factor(step, 1000) for step in range(1, 1001)])]


def observe_task(config: dict[str, Any]) -> list[Tensor]:
    task = component("task", option_of(config), **hyper(config))
    batch = task.training_batch(0, 1)
    prediction = uniform(1, task.scored, batch.input.shape[1], task.outputs, seed=1)
    levels = torch.linspace(0, 1, 1001).tolist()
    solved = torch.tensor([[task.solved(level, 0.0), task.solved(1.0, level)] for level in levels])
    mask = [] if batch.mask is None else [batch.mask]
    return [batch.input, batch.target, *mask, task.losses(prediction, stack([batch])), solved]


def observe_probe(config: dict[str, Any]) -> list[Tensor]:
    made = component("probe", option_of(config), **hyper(config))
    steps = torch.tensor([Timetable.of(config).due(step) for step in range(1, 1101)])
    taken = moment("initialiser=xavier", steps=2)
    return [steps, *(value for _, value in sorted(made.measure(taken).items()))]


OBSERVE = {name.removeprefix("observe_"): f for name, f in list(globals().items()) if name.startswith("observe_")}


def option_of(config: dict[str, Any]) -> str:
    return config["_target_"].split(".")[-2]


def hyper(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "_target_"}


def equal(before: list[Tensor], after: list[Tensor]) -> bool:
    return len(before) == len(after) and all(
        a.shape == b.shape and bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=True).all())
        for a, b in zip(before, after, strict=True)
    )


@pytest.fixture
def npz(tmp_path: Path) -> str:
    """A small file of images in MNIST's form."""
    images, labels = np.arange(80 * 64, dtype=np.uint8).reshape(80, 8, 8), np.arange(80) % 10
    np.savez(tmp_path / "small.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return str(tmp_path / "small.npz")


@pytest.mark.parametrize(
    ("group", "option", "key"), [(g, o, key) for g, o in leaves() for key in leaf(g, o) if key != "_target_"]
)
def test_changing_it_changes_something(group: str, option: str, key: str, npz: str) -> None:
    config = leaf(group, option)
    if option == "copy":
        config["length"] = 12
    value = another(group, option, key, config[key])
    value = npz if value == "npz" else value
    assert value != config[key]
    before = OBSERVE[group](config)
    assert equal(before, OBSERVE[group](config)), "observing twice must give the same"
    assert not equal(before, OBSERVE[group]({**config, key: value})), f"{group}.{key}={value} does nothing"


@pytest.mark.parametrize("group", sorted({g for g, _ in leaves()}))
def test_choosing_another_option_changes_something(group: str) -> None:
    made = [OBSERVE[group](leaf(g, o)) for g, o in leaves() if g == group]
    for k, first in enumerate(made):
        assert not any(equal(first, second) for second in made[:k])
