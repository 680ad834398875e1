"""The contribution probe: parts that add up to the gradient of the step, and finite differences of one part."""

import copy

import pytest
import torch
from moments import moment
from support import component
from torch import nn

SETTINGS = [
    ["cell=rnn"],
    ["cell=lstm", "adjoint=clip_norm", "adjoint.max_norm=1e-3"],
    ["cell=gru", "task.shortest=3"],
    ["cell=lstm", "task=copy", "task.symbols=2", "task.shortest=3", "adjoint=truncate", "adjoint.every=4"],
]


def measure(taken):
    return component("probe", "contribution").measure(taken)


@pytest.mark.parametrize("setting", SETTINGS, ids=" ".join)
def test_the_parts_add_up_to_the_gradient_that_training_has(setting):
    taken = moment(*setting, steps=2)
    found, total = measure(taken), taken.gradients["cell.weight_recurrent"].flatten(1)
    along_R = (found["norm"] * found["cosine"]).nansum(1)
    torch.testing.assert_close(along_R, total.norm(dim=1))
    torch.testing.assert_close(found["share"].nansum(1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(found["agreement"] * found["norm"].nansum(1), total.norm(dim=1))


def loss_with_one_copy_changed(taken, time, weight):
    """(R,): the mean loss when step `time` alone uses this W."""
    model, batch = taken.model, taken.batch
    other = copy.deepcopy(model.cell)
    other.weight_recurrent = nn.Parameter(weight)
    state = model.cell.zero_state(batch.input[0])
    for t, input_RBI in enumerate(batch.input):
        output, new = (other if t == time else model.cell).step(input_RBI, state)
        live = torch.ones_like(batch.input[t, ..., :1]).bool() if batch.mask is None else batch.mask[t].unsqueeze(-1)
        state = tuple(torch.where(live, n, old) for n, old in zip(new, state, strict=True))
    return taken.task.losses(model.readout(output.unsqueeze(0)), batch).mean(1)


@pytest.mark.parametrize("setting", [["cell=lstm"], ["cell=gru", "task.shortest=3"]], ids=" ".join)
def test_one_step_s_part_is_that_of_finite_differences(setting):
    taken, time, small = moment(*setting, "cell.hidden=3", "initialiser=xavier"), 5, 1e-5
    weight, found = taken.model.cell.weight_recurrent.detach(), measure(taken)
    part = torch.empty_like(weight)
    with torch.no_grad():
        for row in range(weight.shape[1]):
            for column in range(weight.shape[2]):
                ends = []
                for sign in (1, -1):
                    moved = weight.clone()
                    moved[:, row, column] += sign * small
                    ends.append(loss_with_one_copy_changed(taken, time, moved))
                part[:, row, column] = (ends[0] - ends[1]) / (2 * small)
    part_R, total_R = part.flatten(1), taken.gradients["cell.weight_recurrent"].flatten(1)
    near = {"rtol": 1e-5, "atol": 0}
    torch.testing.assert_close(found["norm"][:, time], part_R.norm(dim=1), **near)
    torch.testing.assert_close(found["cosine"][:, time], torch.cosine_similarity(part_R, total_R), **near)


def test_with_nothing_flowing_back_all_comes_from_the_last_step():
    found = measure(moment("cell=lstm", "adjoint=truncate", "adjoint.every=1"))
    last = torch.eye(9, dtype=torch.float64)[[8, 8]]
    torch.testing.assert_close(found["share"], last)
    assert (found["norm"][:, :8] == 0).all()
    assert found["cosine"][:, :8].isnan().all()
    torch.testing.assert_close(found["agreement"], torch.ones(2, dtype=torch.float64))
    assert (found["lag"] == 0).all()


def test_a_step_that_no_example_has_has_no_figures():
    taken = moment("cell=rnn", "task.shortest=2", "task.batch=2", "seeds=6")
    nobody = ~taken.batch.mask.any(-1).T
    found = measure(taken)
    assert nobody.any()
    assert not nobody.all(1).any()
    for name in ("norm", "cosine", "share"):
        assert found[name][nobody].isnan().all()
    assert found["norm"][~nobody].isfinite().all()
    assert found["lag"].isfinite().all()


def test_no_gradient_at_all_is_no_share_of_anything():
    def prepare(model):
        with torch.no_grad():
            model.weight_output.zero_()

    found = measure(moment("cell=rnn", prepare=prepare))
    assert (found["norm"] == 0).all()
    assert all(found[name].isnan().all() for name in ("cosine", "share", "agreement", "lag"))
