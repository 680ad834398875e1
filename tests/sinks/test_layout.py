"""The Custom Scalars tab: every chart finds tags that the run writes, and runs of a sweep share their charts."""

import re

import pytest
from support import composed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from rnnlab.build import build
from rnnlab.schema import validate
from rnnlab.sinks.layout import PROBES, TITLES, layout
from rnnlab.training.run import run

SMALL = ("task=adding", "task.length=6", "task.batch=4", "cell.hidden=3", "evaluate.examples=4", "steps=2")
EVERY_STEP = tuple(f"probes.{name}.every=1" for name in PROBES)


def sections(*overrides):
    summary = layout(build(validate(composed(*SMALL, *overrides))))
    (value,) = summary.value
    assert value.tag == metadata.CONFIG_SUMMARY_TAG
    return layout_pb2.Layout.FromString(value.tensor.string_val[0]).category


def patterns(chart):
    bands = [re.escape(tag) + "$" for of in chart.margin.series for tag in (of.value, of.lower, of.upper)]
    return [*chart.multiline.tag, *bands]


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_every_pattern_of_every_chart_finds_a_tag_of_the_run(in_tmp_path, cell):
    choices = ("seeds=2", "probes=full", *EVERY_STEP, f"cell={cell}", "log.every=1", "probe.every=1")
    folder = run(validate(composed(*SMALL, *choices)))
    tags = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()["scalars"]
    for section in sections(*choices):
        for chart in section.chart:
            for pattern in patterns(chart):
                assert any(re.match(pattern, tag) for tag in tags), f"{section.title}: {chart.title}: {pattern}"


def test_there_are_sections_only_of_what_is_measured():
    titles = [section.title for section in sections("probe.every=0")]
    always = ["Loss and metric at evaluation", "Training", "Gradient and clipping"]
    assert titles == always
    titles = [section.title for section in sections("probes=full", "cell=rnn")]
    assert set(titles) == {*always, "Adjoint dL/dh_t", *TITLES.values()} - {"Gates"}
    (named,) = [s for s in sections("+probe@probes.mine=weights") if "mine" in s.title]
    assert all(chart.multiline.tag[0].startswith("mine/") for chart in named.chart)


def test_runs_of_a_sweep_have_the_same_charts():
    """TensorBoard shows a chart twice that is not the same in two runs."""
    first = {section.title: section for section in sections("cell=lstm", "probes=full")}
    second = {section.title: section for section in sections("cell=gru", "clipping=none", "probes=full")}
    assert first == second


def test_every_probe_has_a_section_of_its_own():
    assert list(PROBES) == list(TITLES)
    assert set(PROBES) == set(composed("probes=full")["probes"])
