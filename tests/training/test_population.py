"""A run is a population: every replica is, to the bit, what it would be alone."""

import numpy as np
import pytest
import torch
from helpers import adjoints, metrics, only_run, read, rnnlab, weights

SETTINGS = {
    "adding lstm, odd sizes": ["cell.hidden=13", "task.length=11", "task.batch=7"],
    "copy gru sigmoid, varying lags": [
        "task=copy", "cell=gru", "activation=sigmoid", "task.length=6", "task.symbols=3", "task.shortest=2",
        "cell.hidden=9", "gradient_noise=annealed", "bias_initialiser=chrono", "initialiser=cayley",
        "clipping=block_norm",
    ],
    "modrelu, orthogonal, fixed data": [
        "task=copy", "cell=rnn", "activation=modrelu", "clipping=none", "task.length=5", "task.symbols=4",
        "task.examples=10", "optimiser=rmsprop", "task.marker=at_recall", "task.input=scalar",
    ],
    "float64, adjoint rule, warm-up": [
        "dtype=float64", "adjoint=clip_norm", "adjoint.max_norm=0.01", "schedule=warmup_cosine", "schedule.warmup=5",
        "clipping=value", "cell.hidden=10",
    ],
    "some solve early": [
        "task.solved_mse=0.35", "task.shortest=4", "optimiser.lr=0.05", "steps=30", "clipping=zclip",
        "clipping.warmup=3", "clipping.z_max=0.5",
    ],
    "identity, uniform, momentum": [
        "cell=rnn", "activation=relu", "initialiser=identity", "bias_initialiser=uniform", "optimiser=momentum",
        "adjoint=truncate", "adjoint.every=3", "optimiser.recurrent_lr_factor=0.1", "clipping=agc",
    ],
}  # fmt: skip


def assert_same_replica(population, solo, seed):
    assert metrics(population, seed) == metrics(solo)
    here, alone = adjoints(population), adjoints(solo)
    r = list(here["seed"]).index(seed)
    probed = len(alone["step"])
    np.testing.assert_array_equal(here["norm"][:probed, r], alone["norm"][:, 0])
    assert np.isnan(here["norm"][probed:, r]).all()
    ours, theirs = weights(population, seed), weights(solo, seed)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    of_seed = {row["seed"]: row for row in read(population, "summary.json")["seeds"]}
    assert of_seed[seed] == read(solo, "summary.json")["seeds"][0]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_replica_is_bit_identical_to_its_solo_run(setting, in_tmp_path):
    assert rnnlab(*setting, "seeds=[4,1,7]", "name=population") == 0
    for seed in (4, 7):
        assert rnnlab(*setting, f"seeds=[{seed}]", f"name=solo{seed}") == 0
        assert_same_replica(only_run("population"), only_run(f"solo{seed}"), seed)


def test_a_diverging_replica_stops_and_the_others_go_on_unchanged(in_tmp_path):
    # A step size at which, of these seeds, some replicas blow up and some do not.
    setting = [
        "cell=rnn", "activation=identity", "initialiser=identity", "initialiser.scale=1.3", "clipping=none",
        "optimiser=sgd", "optimiser.lr=3e-12", "task.length=40", "steps=40", "seeds=[0,1,2,3,4,5]",
    ]  # fmt: skip
    assert rnnlab(*setting, "name=population") == 0
    folder = only_run("population")
    summary = {row["seed"]: row for row in read(folder, "summary.json")["seeds"]}
    diverged = [s for s, row in summary.items() if row["status"] == "diverged"]
    fine = [s for s in summary if s not in diverged]
    assert diverged
    assert fine
    for seed in (diverged[0], fine[0]):
        assert all(torch.isfinite(w).all() for w in weights(folder, seed).values())
        assert rnnlab(*setting[:-1], f"seeds=[{seed}]", f"name=solo{seed}") == 0
        assert_same_replica(folder, only_run(f"solo{seed}"), seed)
    last = max(row["step"] for row in metrics(folder, diverged[0]))
    assert last == summary[diverged[0]]["steps"] < 40
    assert max(row["step"] for row in metrics(folder, fine[0])) == 40


def test_with_pascanu_s_rule_replicas_that_would_diverge_go_on(in_tmp_path):
    setting = [
        "cell=rnn", "activation=identity", "initialiser=identity", "initialiser.scale=1e3", "optimiser=sgd",
        "optimiser.lr=0.5", "task.length=40", "steps=40", "seeds=2",
    ]  # fmt: skip
    assert rnnlab(*setting, "clipping=norm", "name=norm") == 0
    assert [row["status"] for row in read(only_run("norm"), "summary.json")["seeds"]] == ["diverged", "diverged"]
    assert rnnlab(*setting, "clipping=pascanu", "clipping.shrink=0.5", "name=pascanu") == 0
    assert [row["status"] for row in read(only_run("pascanu"), "summary.json")["seeds"]] == ["unsolved", "unsolved"]
    lines = [row for row in metrics(only_run("pascanu"), 0) if row["split"] == "train"]
    assert lines[0]["grad_norm"] is None or lines[0]["grad_norm"] > 1e10
    assert lines[0]["clip_fraction"] == 1
    assert lines[-1]["loss"] < 1e3


def test_not_a_number_is_caught_before_the_optimiser_step(in_tmp_path):
    """Diverged weights are the last finite ones, also when it was the update itself that left the numbers."""
    assert rnnlab("optimiser=sgd", "optimiser.lr=1e38", "clipping=none", "seeds=2") == 0
    folder = only_run()
    assert [row["status"] for row in read(folder, "summary.json")["seeds"]] == ["diverged", "diverged"]
    assert all(torch.isfinite(w).all() for seed in (0, 1) for w in weights(folder, seed).values())
    assert read(folder, "manifest.json")["status"] == "finished"


def test_all_seeds_end_when_solved_and_the_run_ends_with_the_last(in_tmp_path):
    assert rnnlab("task.solved_mse=10", "seeds=3") == 0  # solved before the first update
    folder = only_run()
    for row in read(folder, "summary.json")["seeds"]:
        assert (row["status"], row["steps_to_solve"], row["steps"]) == ("solved", 0, 0)
    assert rnnlab("task.solved_mse=10", "seeds=3", "stop_when_solved=false", "name=on") == 0
    for row in read(only_run("on"), "summary.json")["seeds"]:
        assert (row["status"], row["steps_to_solve"], row["steps"]) == ("solved", 0, 12)


def test_runs_are_the_same_run_after_run(in_tmp_path):
    for name in ("a", "b"):
        assert rnnlab("seeds=2", f"name={name}") == 0
    assert (only_run("a") / "metrics.jsonl").read_bytes() == (only_run("b") / "metrics.jsonl").read_bytes()
    assert only_run("a").name == only_run("b").name
