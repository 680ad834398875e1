"""Arms are what varies between runs, sections are tasks; seeds and places are neither."""

import numpy as np
import pytest
from synthetic_runs import write_run

from rnnlab.report.arms import form_arms, sections
from rnnlab.report.reading import find, read
from rnnlab.report.write import titles


@pytest.fixture
def runs(tmp_path):
    """Write runs, one per dictionary of changes, and read them."""

    def make(*changes, seeds=(0, 1), **options):
        for k, change in enumerate(changes):
            write_run(tmp_path / f"run{k}", change, seeds=list(seeds), rng=np.random.default_rng(k), **options)
        return [read(path) for path in find([tmp_path])]

    return make


def formed(found, *, every_lr=False):
    """Sections with their arms; the first learning rate stands for a technique."""
    result = sections(found, every_lr=every_lr)
    for section in result:
        form_arms(section, lambda tried: tried[0])
    return result


def test_labels_hold_what_varies_and_nothing_else(runs):
    (section,) = formed(runs({"cell": "lstm"}, {"cell": "rnn"}, {"cell": "rnn", "clipping.max_norm": 0.5}))
    assert [arm.label for arm in section.arms] == [
        "cell=lstm clipping.max_norm=1.0",
        "cell=rnn clipping.max_norm=0.5",
        "cell=rnn clipping.max_norm=1.0",
    ]
    assert set(section.varied) == {"cell", "clipping.max_norm"}
    assert section.fixed["steps"] == 2000
    assert not set(section.fixed) & set(section.varied)


def test_labels_of_many_keys_leave_out_what_is_usual(runs):
    """More than half of the arms; two arms that differ still have different names."""
    keys = {"activation": "relu", "initialiser": "henaff", "clipping": "value", "optimiser": "sgd"}
    (section,) = formed(runs({}, {"cell": "lstm"}, *({key: value} for key, value in keys.items())))
    assert {arm.label for arm in section.arms} == {
        "cell=lstm",
        "cell=rnn",
        *(f"cell=rnn {key}={value}" for key, value in keys.items()),
    }
    assert set(section.usual) == set(keys)
    assert section.usual["clipping"] == "norm"


def test_what_comes_with_an_option_is_no_part_of_a_label_but_is_told(runs):
    (section,) = formed(runs({"cell": "lstm", "cell.hidden": 32}, {"cell": "rnn", "cell.hidden": 64}))
    assert [arm.label for arm in section.arms] == ["cell=lstm", "cell=rnn"]
    assert section.tied == {("cell.hidden", "cell=lstm"): "32", ("cell.hidden", "cell=rnn"): "64"}


def test_a_key_that_varies_within_an_option_is_in_the_label(runs):
    changes = ({"cell": "rnn"}, {"cell": "rnn", "cell.hidden": 32}, {"cell": "lstm"})
    (section,) = formed(runs(*changes))
    assert len({arm.label for arm in section.arms}) == 3
    assert "cell.hidden" in section.varied


def test_seeds_names_and_what_is_recorded_make_no_arm(runs):
    found = runs({"name": "a", "probe.every": 50}, {"name": "b"}, {"seeds": [4, 5]})
    (section,) = formed(found)
    (arm,) = section.arms
    assert arm.label == "all runs"
    assert section.varied == {}


def test_a_seed_of_one_configuration_counts_once_and_the_one_that_got_furthest(runs, tmp_path):
    write_run(tmp_path / "again", seeds=[0, 1, 2], rng=np.random.default_rng(9), status="interrupted", solve_at=9e9)
    (section,) = formed(runs({}, seeds=(0, 1), solve_at=100, diverging=0))
    assert section.twice == 2
    (arm,) = section.arms
    assert [(replica.outcome.seed, replica.run.state) for replica in arm.replicas] == [
        (0, "finished"),
        (1, "finished"),
        (2, "interrupted"),
    ]
    assert arm.partial


def test_tasks_are_sections_and_the_batch_size_is_not_one(runs):
    found = formed(runs({}, {"task.length": 50}, {"task.batch": 5}, {"task.solved_mse": 0.1}))
    assert [len(section.runs) for section in found] == [2, 1, 1]
    assert "task.batch" in found[0].varied
    assert len(set(titles(found))) == 3
    assert all("length=" in title for title in titles(found))


def test_a_swept_learning_rate_is_chosen_within_each_technique(runs):
    changes = [{"cell": cell, "optimiser.lr": lr} for cell in ("rnn", "gru") for lr in (0.1, 0.01, 0.001)]
    found = runs(*changes)
    (section,) = formed(found)
    assert section.lr_selected
    assert [arm.label for arm in section.arms] == ["cell=gru", "cell=rnn"]
    assert [[setting.lr for setting in arm.tried] for arm in section.arms] == [[0.001, 0.01, 0.1]] * 2
    (every,) = formed(found, every_lr=True)
    assert len(every.arms) == 6
    (alone,) = formed([run for run in found if run.config["cell"] == "rnn"])
    assert not alone.lr_selected, "where the learning rate alone varies, it is what is compared"
    assert len(alone.arms) == 3


def test_a_learning_rate_of_each_technique_s_own_is_not_chosen_but_said(runs):
    (section,) = formed(runs({"cell": "rnn", "optimiser.lr": 0.1}, {"cell": "gru", "optimiser.lr": 0.01}))
    assert not section.lr_selected
    assert [arm.label for arm in section.arms] == ["cell=gru optimiser.lr=0.01", "cell=rnn optimiser.lr=0.1"]


def test_different_settings_never_share_an_arm_however_long_their_values(runs):
    (section,) = formed(runs({"device": "x" * 200 + "a"}, {"device": "x" * 200 + "b"}))
    labels = [arm.label for arm in section.arms]
    assert len(set(labels)) == 2
    assert max(map(len, labels)) < 100


def test_what_is_probed_makes_no_arm(runs):
    """A sweep with probes=full and more seeds without are the same technique."""
    (section,) = formed(runs({"probes": {"weights": {"every": 500}}}, {"seeds": [4, 5]}))
    assert [arm.label for arm in section.arms] == ["all runs"]
