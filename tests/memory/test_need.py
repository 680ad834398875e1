"""What a run is said to need is what it keeps, as far as it can be told beforehand, and never more."""

import pytest
import torch
from support import CELLS, composed, options
from torch import Tensor

from rnnlab.bptt.fused.form import FORMS
from rnnlab.bptt.fused.unroll import numbers_kept
from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.experiment import Experiment
from rnnlab.make import empty_model
from rnnlab.memory.kept import kept_bytes
from rnnlab.schema import validate

SIZES = ["task.length=30", "task.batch=6", "cell.hidden=32", "evaluate.examples=10", "task=adding"]


def experiment(*overrides: str) -> Experiment:
    return build(validate(composed(*SIZES, *overrides)))


def term(made: Experiment, words: str) -> int:
    (found,) = [t.bytes for t in made.memory.terms if words in t.what]
    return found


@pytest.mark.parametrize("engine", ["autograd", "auto"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_states_kept_are_no_more_than_a_step_keeps_and_nearly_all_of_it(cell, engine):
    made = experiment(f"cell={cell}", f"engine={engine}", "seeds=2")
    model = made.model([0, 1])
    batch = made.task.training_batch(0, 1).shared(2)
    inputs = model.cell.told(batch.input, batch.mask, None)
    kept = kept_bytes(
        lambda: made.engine.unroll(model.cell, inputs, last=1),
        [*model.parameters(), *model.buffers(), inputs],
    )
    nearly = 0.5 if cell == "jordan" else 0.6  # at so few units, what is as wide as the output counts
    assert nearly * kept < term(made, "states kept") <= kept


@pytest.mark.parametrize("recompute", [0, 2, 7, 29])
@pytest.mark.parametrize("cell", list(FORMS))
def test_the_fused_engine_keeps_what_its_operator_returns(cell, recompute):
    made = experiment(f"cell={cell}", f"recompute={recompute}", "task.batch=1", "cell.hidden=32")
    if made.engine.name != "fused":
        pytest.skip("there is no kernel here")
    unrolled = made.engine.unroll(made.model([0]).cell, made.task.training_batch(0, 1).shared(1).input, last=1)
    node = unrolled.output_KRBH.grad_fn
    while node is not None and not hasattr(node, "saved_names"):
        node = node.next_functions[0][0]
    saved = dict(zip(node.saved_names, node.saved_tensors, strict=True))
    kept = [saved[name] for name in ("output", *FORMS[cell].traces)]
    assert numbers_kept(made.model([0]).cell, 30, 1, recompute) * 32 == sum(tensor.numel() for tensor in kept)


@pytest.mark.parametrize("option", options("optimiser"))
def test_the_optimiser_remembers_so_much(option):
    made = experiment("cell=rnn", f"optimiser={option}")
    leaves = [p.detach()[0].clone().requires_grad_() for p in made.model([0]).parameters()]
    for leaf in leaves:
        leaf.grad = torch.ones_like(leaf)
    recurrent = [leaf.shape == (32, 32) for leaf in leaves]
    groups = [
        {"params": [p for p, r in zip(leaves, recurrent, strict=True) if r == kind], "lr": 0.1, "recurrent": kind}
        for kind in (False, True)
    ]
    optimiser = made.optimiser(groups)
    optimiser.step()
    state = [value for leaf in leaves for value in optimiser.state[leaf].values() if isinstance(value, Tensor)]
    kept = sum(value.numel() for value in [*leaves, *state]) * 4
    assert 0.6 * kept < term(made, "what the optimiser remembers") <= kept


@pytest.mark.parametrize("option", options("parametrisation"))
def test_an_empty_model_has_the_shapes_of_the_model(option):
    made = experiment(f"cell={'indrnn' if option == 'bounded' else 'rnn'}", f"parametrisation={option}")
    empty, full = (
        m.state_dict()
        for m in (empty_model(made.config.components, ["rnnlab"], made.task, made.parametrisation), made.model([0]))
    )
    assert {name: value.shape for name, value in empty.items()} == {name: value.shape for name, value in full.items()}
    assert {value.device.type for value in empty.values()} == {"meta"}


@pytest.mark.parametrize(
    "key", ["cell.hidden", "task.length", "task.batch", "seeds", "evaluate.examples", "task.examples"]
)
def test_it_grows_with_every_size(key):
    few, many = (experiment("task.examples=640", f"{key}={n}").memory for n in (64, 640))
    assert many.bytes > few.bytes
    assert all(m.bytes >= f.bytes for f, m in zip(few.terms, many.terms, strict=True) if "ahead" not in f.what)


def test_held_out_examples_and_fixed_sets_take_what_is_kept_of_them():
    made = experiment("evaluate.examples=600", "task.examples=100", "seeds=2")
    held_out = [t for b in made.task.evaluation_batches(600) for t in (b.input, b.target)]
    assert term(made, "held-out") == sum(t.nbytes for t in held_out)
    drawn = made.task.draw(100, torch.Generator())
    assert term(made, "fixed sets") == 2 * (sum(t.nbytes for t in drawn) + 100 * 8)


def test_of_targets_that_are_vectors_every_number_counts():
    pytest.importorskip("sklearn")
    made = build(validate(composed("task=bouncing_digits", "evaluate.examples=30", "cell.hidden=4", "seeds=2")))
    held_out = [t for b in made.task.evaluation_batches(30) for t in (b.input, b.target)]
    assert term(made, "held-out") == sum(t.nbytes for t in held_out)
    batch = made.task.training_batch(0, 1)
    assert term(made, "the training batches") == 2 * (batch.input.nbytes + batch.target.nbytes)


def test_examples_from_files_are_in_memory_already():
    pytest.importorskip("sklearn")
    made = build(validate(composed("task=smnist", "evaluate.examples=1e12", "engine=autograd", "cell.hidden=4")))
    assert term(made, "held-out") == 0


def test_a_component_of_the_user_s_own_is_counted_as_far_as_it_can_be(in_tmp_path, monkeypatch):
    """A cell that looks at numbers when it is made, and one that keeps a size from itself."""
    (in_tmp_path / "own_cells.py").write_text(
        "import torch\nfrom torch import nn\nfrom rnnlab.cells.rnn import RNN\nfrom rnnlab.contract import Count"
        ", component\n\n@component\n"
        "class Looks(RNN):\n    def __init__(self, *, hidden: Count, wide: Count, replicas, inputs, activation):\n"
        "        super().__init__(hidden=hidden, activation=activation, replicas=replicas, inputs=inputs)\n"
        "        self.extra = nn.Parameter(torch.zeros(replicas, wide, hidden))\n"
        "        if wide == 3:\n            assert self.extra.sum().item() == 0\n"
    )
    monkeypatch.syspath_prepend(str(in_tmp_path))
    raw, packages = composed(*SIZES, "engine=autograd"), ["rnnlab", "own_cells"]
    own = {"_target_": "own_cells.Looks", "hidden": 16}
    assert term(build(validate({**raw, "cell": {**own, "wide": 3}}, packages)), "optimiser remembers") == 0
    assert term(build(validate({**raw, "cell": {**own, "wide": 4}}, packages)), "optimiser remembers") > 0
    with pytest.raises(ConfigError, match=r"cell\.wide=1000000000000: not allowed here"):
        build(validate({**raw, "cell": {**own, "wide": 10**12}}, packages))
    with pytest.raises(ConfigError, match=r"match_parameters=1000000000000, which takes cell\.hidden"):
        build(validate({**raw, "cell": {**own, "wide": 4}, "match_parameters": 10**12}, packages))
