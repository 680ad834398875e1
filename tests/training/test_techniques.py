"""Several techniques in one run: replicas are as alone, to the bit, and it goes on as if it had not stopped.

Of one technique that is a law of its group, which tests/conformance holds it to.
"""

import numpy as np
import pytest
import torch
from helpers import TINY, adjoints, canonical_files, metrics, only_run, rnnlab, weights
from support import composed

from rnnlab.schema import validate
from rnnlab.training.run import run

SOLVES = "task.shortest=3 task.solved_mse=0.3 optimiser.lr=0.02 steps=16 evaluate.every=2"
TOGETHER = {
    "inside the cell": "parametrisation=spectral_norm dropout=zoneout adjoint=truncate_unbiased "
    f"regulariser=norm_stabiliser gradient_noise=annealed {SOLVES}",
    "around it": "cell=lstm parametrisation=weight_norm dropout=variational adjoint=h_detach "
    f"regulariser=temporal_activation clipping=autoclip {SOLVES}",
    "by adjoints": "cell=rnn regulariser=omega parametrisation=exponential "
    f"schedule=warmup_cosine schedule.warmup=3 {SOLVES}",
    "at random": "task=copy task.length=4 task.symbols=3 steps=12 adjoint=truncate_random adjoint.every=4 "
    "adjoint.spread=2 dropout=non_recurrent",
}
each = pytest.mark.parametrize("setting", [*map(str.split, TOGETHER.values())], ids=TOGETHER.keys())


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
