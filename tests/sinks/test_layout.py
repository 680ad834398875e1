"""The Custom Scalars tab: every chart finds tags that the run writes, and runs of a sweep share their charts."""

import re

import pytest
from support import composed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rnnlab.build import build
from rnnlab.schema import validate
from rnnlab.sinks.layout import layout
from rnnlab.training.run import run

SMALL = ("task=adding", "task.length=6", "task.batch=4", "cell.hidden=3", "evaluate.examples=4", "steps=2")


def sections(*overrides):
    return layout(build(validate(composed(*SMALL, *overrides))))


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_pattern_of_every_chart_finds_a_tag_of_the_run(in_tmp_path, seeds):
    choices = (f"seeds={seeds}", "cell=lstm", "log.every=1", "probe.every=1")
    folder = run(validate(composed(*SMALL, *choices)))
    tags = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()["scalars"]
    for title, charts in sections(*choices).items():
        for chart, (kind, patterns) in charts.items():
            for pattern in patterns if kind == "Multiline" else [f"{re.escape(tag)}$" for tag in patterns]:
                assert any(re.match(pattern, tag) for tag in tags), f"{title}: {chart}: {pattern}"


def test_there_are_sections_only_of_what_is_measured():
    assert sections("probe.every=0").keys() == sections().keys() - {"Adjoint dL/dh_t"}


def test_runs_of_a_sweep_have_the_same_charts():
    """TensorBoard shows a chart twice that is not the same in two runs."""
    assert sections("cell=lstm") == sections("cell=gru", "clipping=none", "probes=full")
