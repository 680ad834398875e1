"""The parts of a sweep by themselves: sharing cores, grids, searches, retries, the overview. No process is started."""

import io
import json
import math
from collections import Counter
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, seal
from omegaconf import OmegaConf
from rich.console import Console
from support import CONFIGS, composed, leaf, options

from rnnlab.bench.synthetic_runs import write_run
from rnnlab.cli import run_command_line
from rnnlab.contract import ConfigError, RunError
from rnnlab.schema import validate
from rnnlab.sweep.ending import tell
from rnnlab.sweep.job import Job, Outcome, labels, objective
from rnnlab.sweep.local_pool import share
from rnnlab.sweep.overview import Overview, duration
from rnnlab.sweep.search import Search, chosen
from rnnlab.sweep.sweep import _Round

CONFIG = validate(composed("steps=40"))


@pytest.mark.parametrize("cores", range(1, 17))
@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 8, 500])
@pytest.mark.parametrize("at_once", [None, 1, 2, 7])
def test_jobs_times_threads_never_exceed_the_cores_that_were_not_asked_for(cores, jobs, at_once):
    slots, threads = share(jobs, at_once, cores)
    assert 1 <= slots <= jobs
    assert slots * threads <= max(cores, at_once or 0)
    assert slots * (threads + 1) > cores, "a core more per job would not have fitted"
    if jobs >= cores and at_once is None:
        assert slots * threads == cores


def configurations(*arguments):
    """What a sweep's jobs would be, by the launcher that needs no process."""
    found = []
    assert run_command_line([*arguments], found.append) == 0
    return found


def test_lr_grid_goes_by_each_job_s_optimiser_and_needs_no_m(in_tmp_path):
    found = configurations("+experiment=adding", "sweep=lr_grid", "optimiser=sgd,adam")
    rates = Counter((c.option("optimiser"), c.components["optimiser"]["lr"]) for c in found)
    assert len(rates) == len(found) == 12
    for option, lowest, highest in (("sgd", 1e-3, 0.3), ("adam", 1e-4, 0.03)):
        grid = sorted(lr for name, lr in rates if name == option)
        assert (grid[0], grid[-1]) == (lowest, highest)
        assert all(2.9 < b / a < 3.4 for a, b in pairwise(grid)), "half a decade apart"


def test_every_optimiser_has_a_grid_around_its_default():
    sweep = OmegaConf.load(CONFIGS / "sweep" / "lr_grid.yaml").hydra.sweeper.params_by_option.optimiser
    assert set(sweep) == set(options("optimiser"))
    for option, params in sweep.items():
        grid = [float(rate) for rate in params["optimiser.lr"].split(",")]
        assert min(grid) < leaf("optimiser", option)["lr"] < max(grid)


def test_a_learning_rate_of_the_user_s_goes_before_the_grid(in_tmp_path):
    found = configurations("sweep=lr_grid", "optimiser.lr=0.5", "cell=rnn,lstm")
    assert [c.components["optimiser"]["lr"] for c in found] == [0.5, 0.5]


def test_every_arm_meets_every_combination_and_the_user_s_choice_goes_first(in_tmp_path):
    arms = 'hydra.sweeper.arms=["cell=rnn clipping=none","cell=lstm"]'
    found = configurations("-m", arms, "task.length=10,20", "clipping=norm")
    cells = [(c.option("cell"), c.components["task"]["length"], c.option("clipping")) for c in found]
    assert cells == [(cell, length, "norm") for cell in ("rnn", "lstm") for length in (10, 20)]
    (first, second) = configurations("-m", arms)
    assert (first.option("clipping"), second.option("clipping")) == ("none", "norm")


def test_globs_and_ranges_sweep(in_tmp_path):
    assert len(configurations("-m", "cell=glob(*)")) == len(options("cell"))
    assert [c.seeds for c in configurations("-m", "seeds=range(1,4)")] == [[0], [0, 1], [0, 1, 2]]


def test_labels_hold_what_differs():
    jobs = [Job(i, ("steps=3", f"cell={cell}")) for i, cell in enumerate(("rnn", "gru"))]
    assert labels(jobs) == {0: "cell=rnn", 1: "cell=gru"}


def test_the_objective_is_the_mean_best_loss_and_infinite_where_one_is_missing(tmp_path):
    write_run(tmp_path / "run", seeds=[0, 1], rng=np.random.default_rng(0))
    path = tmp_path / "run" / "summary.json"

    def summary(*losses):
        content = json.loads(path.read_text())
        for seed, loss in zip(content["seeds"], losses, strict=True):
            seed["best_eval_loss"] = loss
        path.write_text(json.dumps(content))
        seal(path.parent)
        return objective(path.parent)

    assert summary(0.1, 0.3) == pytest.approx(0.2)
    assert summary(0.1, None) == math.inf


class FakeBackend:
    """Answers at once, with the next of its answers for a job's configuration."""

    slots, retries, composers = 2, 1, 2

    def __init__(self, answers):
        self.answers, self.calls = answers, []

    def describe(self):
        return ""

    def submit(self, function, config):
        self.calls.append(config.name)
        future: Future = Future()
        answer = self.answers[config.name].pop(0)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def death(self, error):
        return "killed" if isinstance(error, (ChildProcessError, BrokenProcessPool)) else None

    def stop(self): ...

    def close(self, *, at_once): ...


def outcomes_of(answers, monkeypatch, **config):
    monkeypatch.setattr("rnnlab.sweep.sweep.BUSY_AGAIN", 0.0)
    jobs = [
        Job(i, (f"name={name}",), replace(CONFIG, name=name, **config), Path("runs", name, "x"))
        for i, name in enumerate(answers)
    ]
    backend, outcomes = FakeBackend(answers), {}
    _Round(backend, jobs, outcomes, Overview(len(jobs), labels(jobs))).run(lambda: False)
    return {job.config.name: outcomes[job.number] for job in jobs if job.config}, backend.calls


FINISHED = Outcome("finished", objective=0.5)


def test_a_worker_s_death_is_answered_by_as_many_retries_as_the_backend_has(in_tmp_path, monkeypatch):
    answers = {"once": [ChildProcessError(), FINISHED], "twice": [ChildProcessError()] * 2, "bug": [KeyError("k")]}
    outcomes, calls = outcomes_of(answers, monkeypatch)
    assert outcomes == {
        "once": FINISHED,
        "twice": Outcome("failed", "killed", pytest.approx(math.nan, nan_ok=True)),
        "bug": Outcome("failed", "KeyError: 'k'", pytest.approx(math.nan, nan_ok=True)),
    }
    assert Counter(calls) == {"once": 2, "twice": 2, "bug": 1}


def test_a_folder_in_use_is_come_back_to(in_tmp_path, monkeypatch):
    outcomes, calls = outcomes_of({"a": [Outcome("busy"), Outcome("busy"), FINISHED], "b": [FINISHED]}, monkeypatch)
    assert {o.status for o in outcomes.values()} == {"finished"}
    assert calls.index("b") < 2, "another job goes first"


def test_workers_that_never_begin_end_the_sweep(in_tmp_path, monkeypatch):
    outcomes, _ = outcomes_of({"a": [BrokenProcessPool(), FINISHED]}, monkeypatch)
    assert outcomes["a"] == FINISHED
    with pytest.raises(RunError, match="cannot begin"):
        outcomes_of({"a": [BrokenProcessPool()] * 9}, monkeypatch)


def test_jobs_that_are_the_same_run_are_run_once(in_tmp_path):
    jobs = [Job(i, (f"threads={i}",), CONFIG, Path("runs/same/x")) for i in range(3)]
    backend, outcomes = FakeBackend({CONFIG.name: [FINISHED]}), {}
    _Round(backend, jobs, outcomes, Overview(3, labels(jobs))).run(lambda: False)
    assert list(outcomes.values()) == [FINISHED] * 3
    assert len(backend.calls) == 1


def test_the_exit_status_follows_from_the_outcomes(capsys):
    jobs = [Job(0, ("cell=rnn",), CONFIG), Job(1, ("cell=gru",), CONFIG)]
    assert tell(jobs, {0: FINISHED, 1: Outcome("skipped")}) == 0
    assert tell(jobs, {0: FINISHED, 1: Outcome("failed", "a [reason]")}) == 1
    assert "a [reason]" in capsys.readouterr().out


def test_the_overview_tells_steps_failures_and_the_time_left(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text('{"step": 20}\n{"step": 30}\n{"st')
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=30)
    jobs = [Job(i, (f"cell={i}",), CONFIG, tmp_path) for i in range(3)]
    overview = Overview(3, labels(jobs), console)
    overview.start(jobs[0])
    overview.end(jobs[0], Outcome("failed", "a reason"))
    overview.start(jobs[1])
    overview.look(force=True)
    overview.bar.refresh()
    overview.close()
    text = screen.getvalue()
    assert "1/3 done, 1 running, 1 failed, about 0.0 s left" in text
    assert "step 30" in text
    assert [duration(s) for s in (0.04, 12, 300, 9000)] == ["0.0 s", "12 s", "5 min", "2.5 h"]


def search(folder, losses, trials=8, at_once=2, fixed=()):
    """A search whose launches look the losses up by a function; the learning rates that were launched."""
    asked = []

    def launch(overrides, first):
        rates = [float(one[-1].split("=")[1]) for one in overrides]
        asked.extend(rates)
        return [losses(rate) for rate in rates]

    overrides = parsed("optimiser.lr=tag(log,interval(1e-4,1e-1))")
    searching = Search(folder, fixed=list(fixed), space=dict(chosen(overrides)), trials=trials, seed=0)
    searching.run(launch, at_once)
    return asked


def parsed(*arguments):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(list(arguments))


def test_a_search_stays_in_its_space_and_goes_on_where_it_stopped(tmp_path, capsys):
    first = search(tmp_path, lambda rate: abs(math.log10(rate) + 2), trials=5)
    assert len(first) == 5
    assert all(1e-4 <= rate <= 1e-1 for rate in first)
    second = search(tmp_path, lambda rate: abs(math.log10(rate) + 2), trials=8)
    assert len(second) == 3
    assert not set(first) & set(second), "other points than the first session's"
    assert search(tmp_path, lambda rate: 1.0, trials=8) == []
    assert "Best of 8 trials" in capsys.readouterr().out


def test_trials_without_an_objective_do_not_end_a_search_and_are_tried_again(tmp_path):
    first = search(tmp_path, lambda rate: math.nan if rate > 1e-3 else 1.0, trials=6)
    assert len(first) == 6
    failed = [rate for rate in first if rate > 1e-3]
    assert failed
    again = search(tmp_path, lambda rate: 1.0, trials=6)
    assert again == failed


def test_trials_cut_short_are_asked_for_first(tmp_path):
    cut = []

    def interrupt(rate):
        cut.append(rate)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, interrupt, trials=4, at_once=1)
    assert search(tmp_path, lambda rate: 1.0, trials=4)[0] == cut[0]


def test_another_command_is_another_study(tmp_path):
    assert len(search(tmp_path, lambda rate: 1.0, trials=2)) == 2
    assert len(search(tmp_path, lambda rate: 1.0, trials=2, fixed=("cell=rnn",))) == 2


def test_what_keys_are_drawn_from():
    space = dict(chosen(parsed("a=1,2", "b=range(2,8,2)", "c=interval(1,9)", "d=interval(0.5,1)", "steps=7")))
    assert set(space) == {"a", "b", "c", "d"}
    assert list(space["a"].choices) == [1, 2]
    assert list(space["b"].choices) == [2, 4, 6]
    assert (space["c"].low, space["c"].high) == (1, 9)
    with pytest.raises(ConfigError, match="interval"):
        dict(chosen(parsed("a=interval(3,1)")))


def test_keys_of_the_launchers_and_sweepers_are_checked(in_tmp_path, capfd):
    for arguments, words in (
        (["-m", *TINY, "ray_address=auto"], "hydra/launcher=ray"),
        (["-m", *TINY, "hydra/launcher=ray", "hydra.launcher.cpus=0"], "hydra.launcher.cpus"),
        (["-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.trials=none"], "hydra.sweeper.trials"),
    ):
        assert run_command_line(arguments) == 2
        assert words in capfd.readouterr().err
