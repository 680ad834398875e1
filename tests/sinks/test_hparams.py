"""What a run tells the HParams tab."""

import math

import pytest
from support import composed

from rnnlab.build import build
from rnnlab.runs.progress import Result
from rnnlab.schema import validate
from rnnlab.sinks.hparams import hyper_parameters, outcome, ranges
from rnnlab.tasks.task import Metric

ACCURACY = Metric("accuracy", "share", "higher")

SMALL = ("task=adding", "task.length=10", "cell.hidden=4")


def chosen(*overrides):
    return hyper_parameters(build(validate(composed(*SMALL, *overrides))), 123)


@pytest.mark.parametrize(
    "override",
    [
        "cell=rnn",
        "cell.hidden=5",
        "cell.forget_bias=2.5",
        "activation=relu",
        "clipping=value",
        "clipping.max_norm=7",
        "adjoint=clip_norm",
        "optimiser.lr=0.5",
        "initialiser=xavier",
        "initialiser@input_initialiser=kaiming",
        "task=copy",
        "task.length=11",
        "task.shortest=5",
        "task.batch=3",
        "seeds=2",
        "seeds=[3,5]",
        "steps=77",
        "stop_when_solved=false",
        "milestones=[0.1,0.05]",
        "dtype=float64",
        "engine=autograd",
        "recompute=5",
    ],
)
def test_whatever_is_swept_is_a_column(override):
    plain, changed = chosen("engine=fused"), chosen("engine=fused", override)
    key = override.partition("=")[0].split("@")[-1]
    assert plain[key] != changed[key]


def test_every_value_is_one_that_the_tab_takes():
    for values in (
        chosen("seeds=3", "milestones=[0.1]"),
        chosen("task=copy", "schedule=warmup_cosine", "match_parameters=null"),
    ):
        assert all(type(value) in (str, int, float) for value in values.values())
        assert all(math.isfinite(value) for value in values.values() if type(value) is not str)
    assert values["match_parameters"] == "null"
    assert values["stop_when_solved"] == "true"
    assert values["parameters"] == 123


def test_what_changes_no_training_is_no_column():
    few = chosen("probes=full", "log.every=3", "name=another")
    assert few == chosen()


@pytest.mark.parametrize(
    ("seeds", "text"), [([0], "0"), ([0, 1, 2, 3], "0-3"), ([5, 3], "3, 5"), ([9, 0, 1, 2, 7, 8], "0-2, 7-9")]
)
def test_seeds_are_shown_as_ranges(seeds, text):
    assert ranges(seeds) == text


def results(*ends):
    """(status, steps to solve, loss) per seed."""
    return {
        seed: Result(status=status, steps_to_solve=steps, final_loss=loss, final_metric=-loss)
        for seed, (status, steps, loss) in enumerate(ends)
    }


def test_outcomes_are_medians_over_all_seeds():
    found = outcome(results(("solved", 10, 0.1), ("unsolved", None, 0.3), ("solved", 20, 0.2)), ACCURACY)
    assert found == {
        "Outcome/steps_to_solve": 20,
        "Outcome/loss": 0.2,
        "Outcome/accuracy": -0.2,
        "Outcome/solved_share": pytest.approx(2 / 3),
        "Outcome/diverged_share": 0,
    }


def test_a_diverged_seed_is_the_worst_and_an_unsolved_one_takes_for_ever():
    found = outcome(results(("solved", 10, 0.1), ("diverged", None, 0.0), ("diverged", None, 0.0)), ACCURACY)
    assert "Outcome/steps_to_solve" not in found
    assert math.isnan(found["Outcome/loss"])
    assert math.isnan(found["Outcome/accuracy"])
    assert found["Outcome/diverged_share"] == pytest.approx(2 / 3)


def test_outcomes_come_first_among_the_scalars():
    """The tab shows the first five tags in the order of Python's strings."""
    found = sorted(outcome(results(("solved", 10, 0.1)), ACCURACY))
    assert len(found) == 5
    assert max(found) < min(["accuracy/eval", "adjoint_slope/h", "gradient/clip_fraction", "loss/eval"])
