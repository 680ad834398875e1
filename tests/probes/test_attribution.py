"""The attribution probe on nets whose dependence on the input is constructed, and against the whole Jacobian."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from moments import moment
from support import component

from rnnlab.bptt.unroll import unroll
from rnnlab.probes import attribution
from rnnlab.tasks.task import Batch

TWO = torch.ones(2, dtype=torch.float64)


def measure(taken, **changes):
    return component("probe", "attribution").measure(dataclasses.replace(taken, **changes))


def fading(factor):
    """h_t = factor h_{t-1} + x_t, read by its first unit: dy/dx_t = factor^(T-1-t) in one input, 0 in the other."""

    def prepare(model):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            model.cell.weight_recurrent.copy_(factor * torch.eye(5))
            model.cell.weight_input[:, 0, 0] = 1
            model.weight_output[:, 0] = 1

    return moment("cell=rnn", "activation=identity", prepare=prepare)


def marked_at(taken, *steps):
    """The same batch with the marks at these steps."""
    inputs = taken.batch.input.clone()
    inputs[..., 1] = 0
    inputs[list(steps), ..., 1] = 1
    return Batch(inputs, taken.batch.target)


def test_a_fading_memory_has_its_exponential():
    found = measure(fading(0.5))
    torch.testing.assert_close(found["norm"], (0.5 ** torch.arange(8, -1, -1).double()).expand(2, 9))


@pytest.mark.parametrize(
    ("steps", "precision", "average"),
    [((7, 8), 1.0, 1.0), ((0, 1), 0.0, (1 / 8 + 2 / 9) / 2), ((0, 8), 0.5, (1 + 2 / 9) / 2), ((6, 7), 0.5, 7 / 12)],
)
def test_of_a_fading_memory_the_latest_steps_are_found(steps, precision, average):
    taken = fading(0.5)
    found = measure(taken, batch=marked_at(taken, *steps))
    torch.testing.assert_close(found["precision_at_k"], precision * TWO)
    torch.testing.assert_close(found["average_precision"], average * TWO)
    torch.testing.assert_close(found["chance"], 2 / 9 * TWO)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_a_net_that_tells_no_steps_apart_has_found_nothing(factor):
    taken = fading(factor)
    if factor == 0:
        taken.model.weight_output.data.zero_()
    for steps in ((0, 1), (3, 8)):
        found = measure(taken, batch=marked_at(taken, *steps))
        assert (found["precision_at_k"] == 0).all()
        torch.testing.assert_close(found["average_precision"], (1 / 8 + 2 / 9) / 2 * TWO)


@pytest.mark.parametrize("shortest", ["null", "3"])
def test_a_net_that_reads_where_the_mark_is_finds_every_step(shortest):
    def prepare(model):
        cell = model.cell
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            cell.block(cell.bias, "input").fill_(-20)
            cell.block(cell.weight_input, "input")[:, 1] = 40
            cell.block(cell.bias, "forget").fill_(20)
            cell.block(cell.bias, "output").fill_(20)
            cell.block(cell.weight_input, "candidate")[:, 0] = 0.1
            model.weight_output.fill_(1)

    found = measure(moment("cell=lstm", f"task.shortest={shortest}", "task.batch=20", prepare=prepare))
    assert (found["precision_at_k"] == 1).all()
    assert (found["average_precision"] == 1).all()


def test_steps_that_an_example_does_not_have_do_not_count():
    def prepare(model):
        with torch.no_grad():
            model.weight_output.zero_()

    taken = moment("cell=gru", "task.shortest=2", "task.batch=2", "seeds=6", prepare=prepare)
    found, length_RB = measure(taken), taken.batch.mask.sum(0)
    torch.testing.assert_close(found["chance"], (2 / length_RB.double()).mean(1))
    # Two marked steps that come last of those that are there, and before those that are not.
    lowest_RB = (1 / (length_RB - 1) + 2 / length_RB) / 2
    torch.testing.assert_close(found["average_precision"], lowest_RB.mean(1).double())
    nobody_RT = ~taken.batch.mask.any(-1).T
    assert nobody_RT.any()
    assert torch.equal(found["norm"].isnan(), nobody_RT)


SMALL_COPY = ("cell=lstm", "initialiser=xavier", "task=copy", "task.symbols=2", "task.alphabet=3", "task.length=3",
              "task.scored_steps=recall", "adjoint=truncate", "adjoint.every=2")  # fmt: skip


def norms_of_the_jacobian(taken):
    """(R, T): of all eight outputs of SMALL_COPY."""
    model, inputs = taken.model, taken.batch.input

    def prediction(x):
        return model.readout(unroll(model.cell, x, last=2).output_KRBH).sum(2)  # examples do not see each other

    jacobian = torch.autograd.functional.jacobian(prediction, inputs)  # (R, K, O, T, R, B, I)
    own = torch.stack([jacobian[r, :, :, :, r] for r in range(len(inputs[0]))])  # (R, K, O, T, B, I)
    return own.square().sum((1, 2, 5)).sqrt().mean(-1)


def test_few_outputs_give_the_whole_jacobian_without_the_adjoint_rule():
    taken = moment(*SMALL_COPY)
    torch.testing.assert_close(measure(taken)["norm"], norms_of_the_jacobian(taken))


def test_many_outputs_give_an_estimate_of_it(monkeypatch):
    monkeypatch.setattr(attribution, "DIRECTIONS", 7)
    taken = moment(*SMALL_COPY)
    expected = norms_of_the_jacobian(dataclasses.replace(taken, batch=repeated(taken.batch, 1)))
    found = measure(taken, batch=repeated(taken.batch, 500))
    # The root of an unbiased estimate is a little too small: by about a variance of 2/7 over 8.
    torch.testing.assert_close(found["norm"], expected, rtol=0.1, atol=0)
    again = measure(taken, batch=repeated(taken.batch, 500))
    assert torch.equal(found["norm"], again["norm"])


def repeated(batch, times):
    """The first example so many times: each draws signs of its own."""
    return Batch(batch.input[:, :, :1].repeat(1, 1, times, 1), batch.target[:, :, :1].repeat(1, 1, times))


def test_of_a_task_without_marks_there_are_norms_only():
    taken = fading(0.5)
    unmarked: Any = SimpleNamespace(scored=1, outputs=1)
    found = measure(taken, task=unmarked)
    assert list(found) == ["norm"]
    torch.testing.assert_close(found["norm"], measure(taken)["norm"])


def test_a_norm_that_is_not_a_number_is_no_find():
    def prepare(model):
        with torch.no_grad():
            model.weight_output[0] = torch.nan

    found = measure(moment("cell=rnn", prepare=prepare))
    for name in ("norm", "precision_at_k", "average_precision"):
        assert found[name][0].isnan().all()
        assert found[name][1].isfinite().all()
