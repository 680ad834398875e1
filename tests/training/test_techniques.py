"""Every technique in a population: replicas are as alone, to the bit, and a run goes on as if it had not stopped."""

import numpy as np
import pytest
import torch
from helpers import TINY, adjoints, canonical_files, metrics, only_run, rnnlab, weights
from support import composed

from rnnlab.schema import validate
from rnnlab.training.run import run

SOLVES = ["task.solved_mse=0.3", "optimiser.lr=0.02", "steps=16", "evaluate.every=2"]
TECHNIQUES = {
    **{
        option: [f"parametrisation={option}", "cell.hidden=5", *SOLVES]
        for option in ("exponential", "householder", "almost_orthogonal", "spectral_norm", "weight_norm")
    },
    "cayley, autograd": ["parametrisation=cayley", "engine=autograd", "cell=gru", *SOLVES],
    **{
        option: [f"regulariser={option}", "cell.hidden=5", "task.shortest=3", *SOLVES]
        for option in ("l2", "norm_stabiliser", "temporal_activation")
    },
    "orthogonality, activations": ["regulariser=orthogonality", "initialiser=xavier", "cell=gru", *SOLVES],
    "omega, weight norm": ["regulariser=omega", "cell=rnn", "parametrisation=weight_norm", "task.shortest=3", *SOLVES],
    **{
        option: [f"adjoint={option}", *changes, "task.shortest=3", *SOLVES]
        for option, changes in (
            ("scale", ["adjoint.factor=0.5"]),
            ("h_detach", []),
            ("truncate_unbiased", ["adjoint.share=0.4", "cell=rnn"]),
        )
    },
    "truncate_random": ["adjoint=truncate_random", "adjoint.every=4", "cell=gru", "adjoint.spread=2", *SOLVES],
    "clip_relative, copy": [
        "adjoint=clip_relative",
        "task=copy",
        "task.length=4",
        "task.symbols=3",
        "cell=gru",
        "adjoint.ratio=0.1",
        "steps=12",
    ],
    "non-recurrent": ["dropout=non_recurrent", "task.shortest=3", *SOLVES],
    "variational": ["dropout=variational", "cell=gru", "parametrisation=weight_norm", *SOLVES],
    "gate inputs": ["dropout=gate_inputs", "regulariser=activation", "adjoint=h_detach", "task.shortest=3", *SOLVES],
    "candidate": ["dropout=candidate", "cell=gru", *SOLVES],
    "zoneout": ["dropout=zoneout", "task.shortest=3", *SOLVES],
    "antisymmetric": ["parametrisation=antisymmetric", "cell=rnn", *SOLVES],
}
each = pytest.mark.parametrize("setting", TECHNIQUES.values(), ids=TECHNIQUES.keys())


@each
def test_a_replica_is_bit_identical_to_its_solo_run(setting, in_tmp_path):
    assert rnnlab(*setting, "seeds=[4,1,7]", "name=population") == 0
    population = only_run("population")
    for seed in (4, 7):
        assert rnnlab(*setting, f"seeds=[{seed}]", f"name=solo{seed}") == 0
        solo = only_run(f"solo{seed}")
        assert metrics(population, seed) == metrics(solo)
        here, alone = adjoints(population), adjoints(solo)
        at, probed = list(here["seed"]).index(seed), len(alone["step"])
        np.testing.assert_array_equal(here["norm"][:probed, at], alone["norm"][:, 0])
        ours, theirs = weights(population, seed), weights(solo, seed)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@each
def test_a_run_goes_on_as_if_it_had_not_stopped(setting, in_tmp_path):
    config = validate(composed(*TINY, *setting, "seeds=2", "probes=cheap", "stop_when_solved=false"))
    whole = run(validate({**config.resolved(), "name": "whole"}))
    steps = iter([False] * 6 + [True])
    with pytest.raises(KeyboardInterrupt):
        run(config, interrupted=lambda: next(steps))
    run(config)
    files, expected = canonical_files(only_run()), canonical_files(whole)
    assert files.pop("config.yaml") != expected.pop("config.yaml")  # the name
    assert files == expected
