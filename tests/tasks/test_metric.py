"""A metric says which way is better, and everybody who ranks or sums up asks it."""

import math
import sys
from pathlib import Path

import pytest
from helpers import TINY, only_run, read, rnnlab

from rnnlab.runs.progress import Result
from rnnlab.sinks.hparams import outcome
from rnnlab.tasks.task import RESERVED, Metric

ROOT = Path(__file__).parents[2]


@pytest.fixture
def mine(in_tmp_path, monkeypatch):
    """A task of the user's own whose metric is an error."""

    def write(metric: str) -> list[str]:
        Path("errs").mkdir()
        Path("errs/__init__.py").touch()
        source = (ROOT / "rnnlab/tasks/adding.py").read_text()
        declared = next(line for line in source.splitlines() if "metric: ClassVar" in line)
        rule = next(line for line in source.splitlines() if "return" in line and "<= 0.04" in line)
        error = "        return (prediction_RKBO[:, -1, :, 0] - batch.target[-1]).abs()"
        changed = source.replace(declared, f"    metric: ClassVar = {metric}").replace(rule, error)
        Path("errs/task.py").write_text(changed)
        Path("conf/task").mkdir(parents=True)
        theirs = (ROOT / "configs/task/adding.yaml").read_text()
        Path("conf/task/sum.yaml").write_text(theirs.replace("rnnlab.tasks.adding.Adding", "errs.task.Adding"))
        return ["--config-dir=conf", "components=[rnnlab,errs]", *(a for a in TINY if a != "task=adding"), "task=sum"]

    monkeypatch.syspath_prepend(str(in_tmp_path))
    for name in ("errs", "errs.task"):  # another test's
        monkeypatch.delitem(sys.modules, name, raising=False)
    return write


def test_the_best_of_an_error_is_the_lowest(mine):
    given = mine('Metric("mean_absolute_error", "difference from the sum", "lower")')
    assert rnnlab(*given, "evaluate.every=2", "stop_when_solved=false") == 0
    (seed,) = read(only_run(), "summary.json")["seeds"]
    lines = [line for line in (only_run() / "metrics.jsonl").read_text().splitlines() if '"split": "eval"' in line]
    told = [float(line.split('"mean_absolute_error": ')[1].split(",")[0]) for line in lines]
    assert seed["best_eval_mean_absolute_error"] == min(told) < max(told)
    assert read(only_run(), "manifest.json")["task"]["metric_better"] == "lower"


def test_a_metric_that_does_not_say_is_refused(mine, capfd):
    assert rnnlab(*mine('"mean_absolute_error"')) == 2
    assert "Give a Metric(name, unit, better)" in capfd.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_seed_that_diverged_has_the_worst(better):
    metric = Metric("x", "units", better)
    good, bad = Result(status="unsolved", final_metric=metric.best(1.0, 2.0)), Result(status="diverged")
    middle = Result(status="unsolved", final_metric=1.5)
    assert outcome({0: good, 1: middle, 2: bad}, metric)["Outcome/x"] == 1.5
    assert metric.best(metric.worst, 7.0) == 7.0


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_the_best_is_one_of_the_numbers(better):
    metric = Metric("error", "", better)
    for values in ([math.nan, 0.2], [0.2, math.nan]):
        assert metric.best(*values) == 0.2
    assert math.isnan(metric.best(math.nan, math.nan))


@pytest.mark.parametrize("name", RESERVED)
def test_a_metric_has_no_name_that_a_line_of_metrics_has(name, mine, capsys):
    assert rnnlab(*mine(f'Metric("{name}", "", "lower")')) == 2
    assert f"its metric may not be called {name}, nor step, seed," in capsys.readouterr().err
    assert not Path("runs").exists()
