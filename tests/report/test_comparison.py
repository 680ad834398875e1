"""The numbers of a comparison: nobody is dropped, partial results are told, the input's order changes nothing."""

import json
import math
import random

import numpy as np
import pytest
from helpers import seal
from synthetic_runs import STEPS, write_run

from rnnlab.report.arms import sections
from rnnlab.report.comparison import compare
from rnnlab.report.notes import notes, verdict
from rnnlab.report.reading import find, read
from rnnlab.report.statistics import wilson


def compared(folder, *, shuffle=None, every_lr=False):
    runs = [read(path) for path in find([folder])]
    if shuffle is not None:
        random.Random(shuffle).shuffle(runs)
    (section,) = sections(runs, every_lr=every_lr)
    return compare(section, np.random.default_rng(0))


def write(folder, name, changes, *, seeds=8, at=0, **options):
    options = {"diverging": 0.0, **options}
    write_run(
        folder / name, changes, seeds=list(range(at, at + seeds)), rng=np.random.default_rng(len(name)), **options
    )


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "fast", {"cell": "gru"}, solve_at=200)
    write(tmp_path, "slower", {"cell": "lstm"}, solve_at=1200)
    write(tmp_path, "never", {"cell": "rnn"}, solve_at=1e6)
    return tmp_path


def test_arms_that_differ_are_told_apart_and_ordered(folder):
    comparison = compared(folder)
    assert [row.arm.label for row in comparison.rows] == ["cell=gru", "cell=lstm", "cell=rnn"]
    assert [row.places for row in comparison.rows] == [(1, 1), (2, 2), (3, 3)]
    assert all(pair.apart for pair in comparison.pairs)
    assert [row.solved for row in comparison.rows] == [8, 8, 0]
    assert "told apart from every other arm" in verdict(comparison)


def test_arms_that_do_not_differ_are_not_told_apart(tmp_path):
    for cell in ("gru", "lstm", "rnn"):
        write(tmp_path, "same " + cell, {"cell": cell}, solve_at=400)
    comparison = compared(tmp_path)
    assert all(row.places == (1, 3) for row in comparison.rows)
    assert "may be chance" in verdict(comparison)


def test_the_order_of_the_runs_changes_nothing(folder):
    write(folder, "more seeds", {"cell": "gru"}, at=8, solve_at=300)

    def told(shuffle):
        comparison = compared(folder, shuffle=shuffle)
        return [(row.arm.label, row.metric, row.restricted, row.places, row.cost) for row in comparison.rows]

    assert told(1) == told(2) == told(3)


def test_unsolved_seeds_are_censored_and_not_dropped(folder):
    *_, never = compared(folder).rows
    assert never.curve.median is None
    assert never.restricted is not None
    assert never.restricted.value == STEPS
    assert (never.share.low, never.share.high) == (wilson(0, 8).low, wilson(0, 8).high)
    assert never.cost is None


def test_a_diverged_seed_is_unsolved_to_the_end_and_the_worst_in_the_final_metric(tmp_path):
    write(tmp_path, "good", {"cell": "gru"}, solve_at=300)
    write(tmp_path, "gone", {"cell": "rnn"}, solve_at=300, diverging=1.0)
    good, gone = compared(tmp_path).rows
    assert (gone.arm.label, gone.diverged, gone.solved) == ("cell=rnn", 8, 0)
    assert gone.restricted is not None
    assert gone.restricted.value == STEPS
    assert gone.metric is not None
    assert good.metric is not None
    worst = min(r.outcome.final_metric for row in (good, gone) for r in row.arm.replicas)
    assert gone.metric.value == worst
    assert gone.metric.high <= good.metric.low


def test_partial_seeds_count_as_not_solved_so_far_and_are_marked(folder):
    write(folder, "partial", {"cell": "gru", "clipping": "none"}, solve_at=1e6, status="running")
    path = folder / "partial" / "metrics.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if json.loads(line)["step"] <= 500))
    seal(path.parent)
    comparison = compared(folder)
    (row,) = (row for row in comparison.rows if "clipping=none" in row.arm.label)
    assert (row.solved, row.undecided, row.arm.partial) == (0, 8, True)
    assert row.restricted is None
    assert notes(comparison)[0].startswith("Partial results: 1 died of 4")


def test_cost_is_all_seconds_of_the_arm_over_its_solved_seeds(folder):
    for row in compared(folder).rows[:2]:
        steps = [replica.outcome.steps for replica in row.arm.replicas]
        seconds = 0.01 * max(steps)  # the seeds of a run train in lockstep
        assert row.cost == pytest.approx(seconds / row.solved)
        assert row.seconds_per_step == pytest.approx(seconds / sum(steps))


def test_learning_rates_that_were_not_compared_are_told(tmp_path):
    for cell, lr in (("gru", 0.1), ("rnn", 0.01)):
        write(tmp_path, cell, {"cell": cell, "optimiser.lr": lr}, solve_at=300)
    told = " ".join(notes(compared(tmp_path)))
    assert "0.01 to 0.1" in told
    write(tmp_path, "gru2", {"cell": "gru", "optimiser.lr": 0.01}, solve_at=200)
    assert "0.01 to 0.1" not in " ".join(notes(compared(tmp_path)))


def test_what_arms_leave_out_is_told(tmp_path):
    changes = ({}, {"cell": "lstm"}, {"activation": "relu"}, {"clipping": "value"}, {"optimiser": "sgd"})
    for k, change in enumerate(changes):
        write(tmp_path, str(k), change, solve_at=300 + k)
    assert "activation=tanh, clipping=norm, optimiser=adam" in " ".join(notes(compared(tmp_path)))


def test_the_best_learning_rate_is_the_one_whose_seeds_beat_the_others(tmp_path):
    for cell in ("gru", "rnn"):
        for lr, at in ((0.1, 1e6), (0.01, 300), (0.001, 1500)):
            write(tmp_path, f"{cell}{lr}", {"cell": cell, "optimiser.lr": lr}, solve_at=at)
    comparison = compared(tmp_path)
    assert [row.arm.setting.lr for row in comparison.rows] == [0.01, 0.01]
    told = " ".join(notes(comparison))
    assert "best learning rate of 3" in told
    assert "At the edge" not in told
    write(tmp_path, "gru1e-4", {"cell": "gru", "optimiser.lr": 0.0001}, solve_at=100)
    told = " ".join(notes(compared(tmp_path)))
    assert "3 to 4" in told
    assert "beyond: cell=gru." in told


def test_too_few_seeds_are_told_beforehand(tmp_path):
    for cell in ("gru", "lstm", "rnn"):
        write(tmp_path, cell, {"cell": cell}, seeds=3, solve_at=200 if cell == "gru" else 1e6)
    comparison = compared(tmp_path)
    assert not any(pair.apart for pair in comparison.pairs)
    told = " ".join(notes(comparison))
    assert "5 seeds" in told
    assert "3 per arm" in told


def test_confounds_are_told(folder):
    write(folder, "small budget", {"cell": "gru", "steps": 1000}, solve_at=200)
    seal(folder / "fast", engine="autograd")
    told = " ".join(notes(compared(folder)))
    assert "1,000 to 2,000" in told
    assert "trained parameters" in told
    assert "engines: fused (3), autograd (1)" in told
    assert "every 50 updates" in told


def test_a_seed_that_was_never_evaluated_has_no_final_metric(tmp_path):
    write(tmp_path, "new", {}, seeds=2, status="running")
    (tmp_path / "new" / "metrics.jsonl").write_text("")
    seal(tmp_path / "new")
    (row,) = compared(tmp_path).rows
    assert row.metric is None
    assert row.undecided == 2
    assert math.isnan(row.arm.replicas[0].outcome.final_loss)


def test_that_nobody_solved_the_task_is_said_first(tmp_path):
    for cell in ("gru", "rnn"):
        write(tmp_path, cell, {"cell": cell}, seeds=3, solve_at=1e6)
    assert verdict(compared(tmp_path)).startswith("No seed")
