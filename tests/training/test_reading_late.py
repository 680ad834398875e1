"""On a device, figures are read where they are needed and not after every step: same results, and nothing waits."""

import inspect
from collections import Counter

import numpy as np
import pytest
import torch
from helpers import adjoints, metrics, only_run, read, rnnlab, weights
from support import choice, component, options
from torch import Tensor

from rnnlab import device
from rnnlab.training import ledger

BLOWING_UP = [
    "cell=rnn", "activation=identity", "initialiser=identity", "initialiser.scale=1.3", "clipping=none",
    "optimiser=sgd", "optimiser.lr=3e-12", "task.length=40", "steps=40", "seeds=6",
]  # fmt: skip
SETTINGS = {
    "plain": ["seeds=3"],
    "clipped by value, warm-up, fixed data": [
        "seeds=2", "clipping=value", "clipping.max_value=0.01", "schedule=warmup_cosine", "schedule.warmup=5",
        "task.examples=9",
    ],
    "some solve early": ["seeds=3", "task.solved_mse=0.35", "task.shortest=4", "optimiser.lr=0.05", "steps=30"],
    "some diverge": BLOWING_UP,
    "some diverge between the lines, none probed": [*BLOWING_UP, "log.every=40", "probe.every=0"],
    "with a memory, one solves early": [
        "seeds=3", "task.solved_mse=0.35", "task.shortest=4", "optimiser.lr=0.05", "steps=30", "clipping=zclip",
        "clipping.warmup=3", "clipping.z_max=0.5",
    ],
    "all diverge by the update itself": ["optimiser=sgd", "optimiser.lr=1e38", "clipping=none", "seeds=2"],
}  # fmt: skip


@pytest.fixture
def late(monkeypatch):
    """Treat the CPU like a device that one would have to wait for."""
    return lambda: monkeypatch.setattr(device, "AT_ONCE", ())


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_reading_late_changes_no_result(setting, late, in_tmp_path):
    assert rnnlab(*setting, "name=at_once") == 0
    late()
    assert rnnlab(*setting, "name=late") == 0
    at_once, late_run = only_run("at_once"), only_run("late")
    assert metrics(at_once) == metrics(late_run)
    assert read(at_once, "summary.json")["seeds"] == read(late_run, "summary.json")["seeds"]
    for name, values in adjoints(at_once).items():
        np.testing.assert_array_equal(values, adjoints(late_run)[name])
    for row in read(at_once, "summary.json")["seeds"]:
        ours, theirs = weights(at_once, row["seed"]), weights(late_run, row["seed"])
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def of_our_own(option: str) -> bool:
    """Whether its steps are ours and not torch's."""
    made = component("optimiser", option)
    groups = [{"params": [torch.zeros(2, 2)], "lr": made.lr, "full_lr": made.lr, "recurrent": True}]
    return not inspect.unwrap(type(made(groups)).step).__module__.startswith("torch.")


OWN = [
    *(f"gradient_noise={option}" for option in options("gradient_noise")),
    *(f"optimiser={option}" for option in options("optimiser") if of_our_own(option)),
]


@pytest.mark.parametrize("chosen", [*(choice("clipping", option) for option in options("clipping")), *OWN])
def test_between_two_lines_of_metrics_nothing_is_read(chosen, late, in_tmp_path, monkeypatch):
    """Each of these would make a CUDA device finish what it was given before the host goes on."""
    late()
    seen: Counter[str] = Counter()
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        original = getattr(Tensor, name)

        def counting(tensor, *args, name=name, original=original, **kwargs):
            seen[name] += 1
            return original(tensor, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, counting)
    reads: list[int] = []
    original_read = ledger.read
    monkeypatch.setattr(ledger, "read", lambda records: (reads.append(len(records)), original_read(records))[1])
    setting = [chosen, "seeds=2", "log.every=10", "probe.every=0", "evaluate.every=1000", "checkpoint.every=1000"]
    assert rnnlab(*setting, "steps=20", "name=short") == 0
    short, few = seen.copy(), list(reads)
    assert rnnlab(*setting, "steps=30", "name=long") == 0
    assert few == [10, 10]
    assert reads == [10, 10, 10, 10, 10]
    # The longer run differs by one reading of ten steps: one transfer.
    more = {name: count - 2 * short[name] for name, count in seen.items() if count != 2 * short[name]}
    assert more.get("tolist") == 1, more
    assert sum(more.values()) < 10, f"per-step reads: {more}"


def test_an_interruption_is_obeyed_at_the_next_step_and_loses_nothing(late, in_tmp_path, monkeypatch):
    from rnnlab.training import session

    setting = ["seeds=2", "log.every=10", "probe.every=0", "evaluate.every=1000", "checkpoint.every=1000", "steps=20"]
    assert rnnlab(*setting, "name=whole") == 0
    late()
    train = session.train

    def interrupted_train(experiment, population, *args, **kwargs):
        steps = []
        update = population.step
        monkeypatch.setattr(population, "step", lambda *given: (steps.append(1), update(*given))[1])
        kwargs["interrupted"] = lambda: len(steps) == 7
        return train(experiment, population, *args, **kwargs)

    monkeypatch.setattr(session, "train", interrupted_train)
    assert rnnlab(*setting, "name=cut") == 130
    assert read(only_run("cut"), "manifest.json")["sessions"][-1]["to_step"] == 7
    monkeypatch.setattr(session, "train", train)
    assert rnnlab(*setting, "name=cut") == 0
    assert metrics(only_run("cut")) == metrics(only_run("whole"))
