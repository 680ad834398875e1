"""The updates probe against direct computation: one backward pass per example, one clipping, NumPy for the rest."""

import numpy as np
import pytest
import torch
from moments import moment
from support import component

from rnnlab.probes import updates
from rnnlab.tasks.task import Batch

SETTINGS = [
    ("cell=lstm",),
    ("cell=gru", "task.shortest=4", "seeds=1"),
    ("cell=rnn", "activation=modrelu", "adjoint=clip_norm", "adjoint.max_norm=0.05"),
    ("task=copy", "task.length=4", "cell=lstm", "engine=auto", "seeds=3"),
]


def measured(taken):
    return component("probe", "updates").measure(taken)


def one_by_one(taken):
    """(R, B, ...) by name: every example's gradient from a backward pass of its own."""
    model, task, batch = taken.model, taken.task, taken.batch
    result = {name: [] for name in taken.gradients}
    for b in range(batch.input.shape[2]):
        mask = None if batch.mask is None else batch.mask[:, :, b : b + 1]
        alone = Batch(batch.input[:, :, b : b + 1], batch.target[:, :, b : b + 1], mask)
        unrolled = taken.engine.unroll(
            model.cell, alone.input, mask_TRB=mask, rule=taken.adjoint_rule, last=task.scored
        )
        model.zero_grad()
        task.losses(model.readout(unrolled.output_KRBH), alone).sum().backward()
        for name, parameter in model.named_parameters():
            result[name].append(parameter.grad.numpy().copy())
    return {name: np.stack(parts, axis=1) for name, parts in result.items()}


def squared(values, keep):
    return (values**2).reshape(*values.shape[:keep], -1).sum(-1)


@pytest.mark.parametrize("setting", SETTINGS, ids=" ".join)
def test_it_agrees_with_direct_computation(setting):
    taken = moment(*setting, "bias_initialiser=uniform", steps=2)
    found, gradients = measured(taken), one_by_one(taken)
    sums = np.zeros((5, len(taken.seeds)))
    for name, weight in taken.model.named_parameters():
        g, before = taken.gradients[name].numpy(), taken.previous[name].numpy()
        np.testing.assert_allclose(gradients[name].mean(1), g, rtol=1e-9, atol=1e-15, err_msg="of the mean loss")
        noise = squared(gradients[name] - g[:, None], 2).mean(1)
        dot = (g * before).reshape(len(g), -1).sum(-1)
        parts = squared(g, 1), squared(before, 1), squared(taken.updates[name].numpy(), 1), dot, noise
        check(found, name, parts, squared(weight.detach().numpy(), 1))
        sums += np.stack(parts)
    everything = sum(squared(p.detach().numpy(), 1) for p in taken.model.parameters())
    check(found, "all", sums, everything)
    np.testing.assert_allclose(found["gradient_norm"], np.sqrt(sums[0]), rtol=1e-9)


def check(found, name, parts, weight):
    g, before, update, dot, noise = parts
    np.testing.assert_allclose(found[f"{name}.update_to_weight"], np.sqrt(update / weight), rtol=1e-8)
    np.testing.assert_allclose(found[f"{name}.cosine_with_previous"], dot / np.sqrt(g * before), rtol=1e-8)
    np.testing.assert_allclose(found[f"{name}.signal_to_noise"], g / noise, rtol=1e-8)


def test_in_chunks_it_is_the_same(monkeypatch):
    taken = moment("cell=gru", "seeds=3", steps=2)
    at_once = measured(taken)
    monkeypatch.setattr(updates, "AT_ONCE", 5 * sum(p.numel() for p in taken.model.parameters()) // 3)
    for name, value in measured(taken).items():
        torch.testing.assert_close(value, at_once[name], rtol=1e-12, atol=0)


def test_clipping_by_norm_by_value_and_none():
    norms = measured(moment("clipping=none"))
    assert norms["clip_factor"].tolist() == [1, 1]
    bound = 0.5 * norms["gradient_norm"].min().item()
    found = measured(moment("clipping=norm", f"clipping.max_norm={bound}"))
    torch.testing.assert_close(found["clip_factor"], bound / found["gradient_norm"], rtol=1e-12, atol=0)
    taken = moment("clipping=value", "clipping.max_value=0.01")
    clipped = sum(squared(g.numpy().clip(-0.01, 0.01), 1) for g in taken.gradients.values())
    found = measured(taken)
    np.testing.assert_allclose(found["clip_factor"] * found["gradient_norm"], np.sqrt(clipped), rtol=1e-12)
    assert (found["clip_factor"] < 1).all()


def test_what_does_not_exist_is_nan():
    found = measured(moment("bias_initialiser=zeros", "cell=rnn"))
    assert found["all.cosine_with_previous"].isnan().all()
    assert found["cell.bias.update_to_weight"].isnan().all()
    assert found["all.update_to_weight"].isfinite().all()


def test_examples_that_are_all_the_same_make_no_noise():
    taken = moment("seeds=1", "task.batch=4")
    batch = taken.batch
    same = Batch(batch.input[:, :, :1].expand_as(batch.input), batch.target[:, :, :1].expand_as(batch.target))
    object.__setattr__(taken, "batch", same)
    gradients = one_by_one(taken)
    taken.gradients.update({name: torch.from_numpy(g.mean(1)) for name, g in gradients.items()})
    assert (measured(taken)["all.signal_to_noise"] > 1e20).all()
