"""The parts of a sweep by themselves: sharing cores, grids, searches, retries, the overview. No process is started."""

import io
import json
import math
import re
import tempfile
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, rnnlab, seal
from omegaconf import OmegaConf
from rich.console import Console
from support import CONFIGS, composed, leaf, options
from synthetic_runs import write_run

from rnnlab.cli import run_command_line
from rnnlab.contract import ConfigError, RunError
from rnnlab.messages import LONGEST_LINE
from rnnlab.schema import validate
from rnnlab.sweep.backend import Death
from rnnlab.sweep.compose import Composer, compose
from rnnlab.sweep.crew import Crew
from rnnlab.sweep.ending import tell
from rnnlab.sweep.job import ENDINGS, RESULTS, Job, JobOutcome, labels, objective
from rnnlab.sweep.local_pool import MOST_PER_CORE, share
from rnnlab.sweep.overview import Overview, duration, last_step
from rnnlab.sweep.round import Round

CONFIG = validate(composed("steps=40"))


@pytest.mark.parametrize("cores", range(1, 17))
@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 8, 500])
@pytest.mark.parametrize("at_once", [None, 1, 2, 7, 10**9])
def test_jobs_times_threads_never_exceed_the_cores_that_were_not_asked_for(cores, jobs, at_once):
    slots, threads = share(jobs, at_once, cores)
    assert 1 <= slots <= jobs
    assert slots * threads <= max(cores, min(at_once or 0, MOST_PER_CORE * cores))
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
    assert len(configurations("-m", "cell=glob(*,exclude=none)")) == len(options("cell")) - 1
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


class DiedError(Exception):
    """The argument: a Death."""


KILLED = DiedError(Death("was killed"))
STARVED = DiedError(Death("was killed (SIGKILL, lack of memory?)", starved=True))
ASKED = DiedError(Death("was killed (SIGTERM)", asked=True))
UNBORN = DiedError(Death("was killed before it could begin", begun=False))
FINISHED = JobOutcome("finished", objective=0.5)
INTERRUPTED = JobOutcome("interrupted", "Interrupted at step 7")


class FakeBackend:
    """Answers at once, with the next of its answers for a job's configuration."""

    composers = 2

    def __init__(self, answers, *, slots=2, retries=0):
        self.answers, self.slots, self.retries = answers, slots, retries
        self.calls, self.stopped = [], False

    def describe(self):
        return ""

    def submit(self, function, config, folder):
        self.calls.append(config.name)
        future: Future = Future()
        answer = self.answers[config.name].pop(0)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def death(self, error):
        return error.args[0] if isinstance(error, DiedError) else None

    def shrink(self):
        fewer = self.slots > 1
        self.slots -= fewer
        return fewer

    def stop(self):
        self.stopped = True

    def close(self, *, at_once): ...


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("rnnlab.sweep.round.AGAIN", 0.003)
    monkeypatch.setattr("rnnlab.sweep.crew.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("rnnlab.sweep.crew.POLL", 0.001)


def jobs_named(names):
    return [Job(i, (f"name={n}",), replace(CONFIG, name=n), Path("runs", n, "x")) for i, n in enumerate(names)]


def round_of(answers, outcomes, jobs=None, **backend):
    jobs = jobs or jobs_named(answers)
    overview = Overview(len(jobs), labels(jobs))
    return Round(Crew(FakeBackend(answers, **backend), overview.note), jobs, outcomes, overview)


def outcomes_of(answers, interrupted=lambda: False, **backend):
    """By name, how the jobs end; and the names in the order in which they were handed out."""
    outcomes: dict[int, JobOutcome] = {}
    working = round_of(answers, outcomes, **backend)
    working.run(interrupted)
    return dict(zip(answers, (outcomes[i] for i in range(len(answers))), strict=True)), working.crew.backend.calls


def ended(status, reason):
    return JobOutcome(status, reason, pytest.approx(math.nan, nan_ok=True))


def test_a_worker_s_death_is_answered_by_as_many_retries_as_the_backend_has(in_tmp_path):
    answers = {"once": [KILLED, FINISHED], "twice": [KILLED] * 2, "bug": [KeyError("k")]}
    outcomes, calls = outcomes_of(answers, retries=1)
    assert outcomes == {
        "once": FINISHED,
        "twice": ended("failed", "its worker was killed"),
        "bug": ended("failed", "KeyError: 'k'"),
    }
    assert Counter(calls) == {"once": 2, "twice": 2, "bug": 1}


@pytest.mark.parametrize("lost", [INTERRUPTED, ASKED])
@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_a_job_that_was_interrupted_alone_goes_on_in_another_worker_twice(lost, retries, in_tmp_path):
    more = max(2, retries)
    answers = {"often": [lost] * more + [FINISHED], "always": [lost] * (more + 1), "never": [FINISHED]}
    outcomes, calls = outcomes_of(answers, retries=retries)
    assert (outcomes["often"], outcomes["never"]) == (FINISHED, FINISHED)
    assert outcomes["always"].status == "interrupted"
    assert outcomes["always"].reason in (INTERRUPTED.reason, "its worker was killed (SIGTERM)")
    assert Counter(calls) == {"often": more + 1, "always": more + 1, "never": 1}


@pytest.mark.parametrize(("answer", "endings"), [(INTERRUPTED, 20), (ASKED, 20), (KILLED, 0), (STARVED, 0)])
def test_a_job_that_gets_further_each_time_may_be_asked_to_end_as_often_as_it_is(answer, endings, in_tmp_path):
    """As by a time limit. A death that nobody asked for counts all the same."""

    class Further(FakeBackend):
        def submit(self, function, config, folder):
            checkpoints = folder / "checkpoint"
            checkpoints.mkdir(parents=True, exist_ok=True)
            steps = len(list(checkpoints.iterdir())) + 1
            (checkpoints / f"step-{steps:08d}-0123456789abcdef.pt").touch()
            return super().submit(function, config, folder)

    jobs = jobs_named("a")
    for count in (endings, endings + 1):
        outcomes: dict[int, JobOutcome] = {}
        backend = Further({"a": [answer] * count + [FINISHED]}, slots=1)
        Round(Crew(backend, print), jobs, outcomes, Overview(1, labels(jobs))).run(lambda: False)
        assert (outcomes[0] == FINISHED) == (endings > 0 or count == 0)


def test_a_job_killed_for_lack_of_memory_goes_on_once_where_fewer_can_be_at_work(in_tmp_path, capsys):
    outcomes, _ = outcomes_of({"a": [STARVED, FINISHED]}, slots=2)
    assert outcomes["a"] == FINISHED
    assert "1 at a time from now on" in capsys.readouterr().out
    for answers, slots in (([STARVED] * 2, 3), ([STARVED], 1)):
        outcomes, _ = outcomes_of({"a": answers}, slots=slots)
        assert outcomes["a"] == ended("failed", "its worker was killed (SIGKILL, lack of memory?)")


def test_workers_that_die_in_their_start_make_fewer_and_cost_nothing(in_tmp_path, capsys):
    outcomes, _ = outcomes_of({name: [UNBORN, FINISHED] for name in "abc"}, slots=4)
    assert {o.status for o in outcomes.values()} == {"finished"}
    text = capsys.readouterr().out
    assert all(f"{slots} at a time from now on" in text for slots in (3, 2, 1))


def test_where_no_worker_can_begin_every_job_left_is_told_with_the_reason(in_tmp_path):
    answers = {"first": [FINISHED], **{name: [UNBORN] * 20 for name in "abc"}}
    outcomes: dict[int, JobOutcome] = {}
    with pytest.raises(RunError, match="cannot begin"):
        round_of(answers, outcomes, slots=3).run(lambda: False)
    assert [outcomes[i].status for i in range(4)] == ["finished"] + ["waiting"] * 3
    assert all("cannot begin" in outcomes[i].reason for i in range(1, 4))


def test_a_folder_in_use_is_come_back_to(in_tmp_path, capsys):
    outcomes, calls = outcomes_of({"a": [JobOutcome("busy"), JobOutcome("busy"), FINISHED], "b": [FINISHED]})
    assert {o.status for o in outcomes.values()} == {"finished"}
    assert calls.index("b") < 2, "another job goes first"
    assert capsys.readouterr().out.count("Waiting for jobs that another process works on: 1, first runs/a/x") == 1


@pytest.mark.parametrize("polls", range(12))
def test_whenever_a_sweep_is_interrupted_each_job_ends_in_one_way(polls, in_tmp_path, capsys):
    """Interrupted at the n-th look, with jobs that are refused, the same, busy, lost, or failed."""
    left = iter(range(polls))
    outcomes: dict[int, JobOutcome] = {}
    busy = JobOutcome("busy", "in use by another process")
    answers = {
        "a": [busy] * 99,
        "b": [INTERRUPTED, INTERRUPTED, FINISHED],
        "c": [FINISHED],
        "d": [JobOutcome("failed")],
    }
    jobs = jobs_named(answers)
    jobs += [replace(jobs[1], number=4), replace(jobs[0], number=5), Job(6, ("x=1",), refused="x=1: not allowed")]
    round_of(answers, outcomes, jobs, slots=1).run(lambda: next(left, None) is None)
    assert tell(jobs, outcomes) == 1
    assert outcomes[0] == outcomes[5]
    assert outcomes[1] == outcomes[4]
    assert outcomes[0].status == "waiting"
    assert sum(counts(capsys.readouterr().out).values()) == len(jobs)


@pytest.mark.parametrize("error", [RunError("lost"), OSError(5, "lost"), KeyboardInterrupt("twice")])
def test_a_round_that_is_cut_short_leaves_an_outcome_for_every_job(error, in_tmp_path):
    class Cut(FakeBackend):
        def submit(self, function, config, folder):
            if config.name == "b":
                raise error
            return super().submit(function, config, folder)

    outcomes: dict[int, JobOutcome] = {}
    jobs = jobs_named("abc")
    jobs.append(replace(jobs[2], number=3))
    backend = Cut({"a": [FINISHED], "c": [FINISHED]}, slots=1)
    with pytest.raises(type(error)):
        Round(Crew(backend, print), jobs, outcomes, Overview(4, labels(jobs))).run(lambda: False)
    assert [outcomes[i].status for i in range(4)] == ["finished", "waiting", "waiting", "waiting"]
    assert "lost" in outcomes[1].reason or "twice" in outcomes[1].reason


def counts(text):
    """The numbers of the closing line by their words."""
    ((total, told),) = re.findall(r"(\d+) jobs: ([^.]*)\.", text)
    parts = {word: int(number) for number, word in (part.split(" ", 1) for part in told.split(", "))}
    assert sum(parts.values()) == int(total)
    return parts


def test_jobs_that_are_the_same_run_are_run_once(in_tmp_path):
    jobs = [Job(i, (f"threads={i}",), CONFIG, Path("runs/same/x")) for i in range(3)]
    outcomes: dict[int, JobOutcome] = {}
    working = round_of({CONFIG.name: [FINISHED]}, outcomes, jobs)
    working.run(lambda: False)
    assert list(outcomes.values()) == [FINISHED] * 3
    assert len(working.crew.backend.calls) == 1


JUNK = [
    b"[]",
    b"null",
    b'"x"',
    b"1",
    b"{}",
    b'{"status": []}',
    b"\x00\xff",
    b"",
    b"{",
    b"[" * 100_000,
    b'{"status":"finished"}',
]


@pytest.mark.parametrize("name", ["manifest.json", "summary.json", "metrics.jsonl", "output.log", ".lock"])
@pytest.mark.parametrize("junk", [*JUNK, None])
def test_whatever_is_in_the_files_of_a_job_costs_that_job_at_most(name, junk, in_tmp_path, capsys):
    """A worker is given the job, whose affair it is."""
    folder = Path("runs/a/x")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"status": "finished"}')
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir() if junk is None else (folder / name).write_bytes(junk)
    for answer in (FINISHED, KILLED, JobOutcome("failed", "a reason"), INTERRUPTED):
        answers = {"a": [answer] * 3, "b": [FINISHED]}
        outcomes, calls = outcomes_of(answers)
        assert outcomes["b"] == FINISHED
        assert "a" in calls
        tell(jobs_named("ab"), {0: outcomes["a"], 1: FINISHED})
        assert sum(counts(capsys.readouterr().out).values()) == 2


def test_the_exit_status_follows_from_the_outcomes(capsys):
    jobs = [Job(0, ("cell=rnn",), CONFIG), Job(1, ("cell=gru",), CONFIG)]
    for status, word in ENDINGS.items():
        outcome = JobOutcome(status, "a [reason]")
        assert tell(jobs, {0: FINISHED, 1: outcome}) == (0 if status in RESULTS else 1)
        text = capsys.readouterr().out
        assert counts(text) == {**dict.fromkeys(ENDINGS.values(), 0), "finished": 1} | {word: 1 + (word == "finished")}
        assert ("a [reason]" in text) == (status not in RESULTS)


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["a=1: not allowed."], "a=1: not allowed."),
        (["a=1: not allowed."] * 3, "a=1: not allowed."),
        ([f"a={i}: not allowed." for i in range(300)], "a=0: not allowed. (The first of 300 reasons; all 300 jobs are"),
        (["word " * 100, "b"], "(The first of 2 reasons; all 2 jobs are refused.)"),
    ],
)
def test_where_every_job_is_refused_one_line_says_so(reasons, told, capsys):
    jobs = [Job(i, (f"a={i}",), refused=reason) for i, reason in enumerate(reasons)]
    with pytest.raises(ConfigError) as refused:
        tell(jobs, {job.number: JobOutcome("refused", job.refused) for job in jobs})
    assert told in str(refused.value)
    assert len(str(refused.value)) <= LONGEST_LINE
    assert capsys.readouterr() == ("", "")


class UnshownError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit("now"), "GeneratorExit: now"),
        (SystemExit(0), "SystemExit: 0"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ConfigError("two\nlines"), "two lines"),
        (UnshownError(), "UnshownError: (a UnshownError that cannot be shown)"),
    ],
)
def test_whatever_a_component_raises_while_a_job_is_composed_costs_that_job(error, told, monkeypatch):
    def build(config, say):
        raise error

    import_module("rnnlab.training.run")  # which takes the other by its name
    composer = Composer(None, OmegaConf.create())
    monkeypatch.setattr(composer, "_config", lambda number, overrides: CONFIG)
    monkeypatch.setattr("rnnlab.build.build", build)
    assert composer._job(3, ("a=1",)) == Job(3, ("a=1",), refused=told)


def composed_by(answer, count):
    """What `compose` makes of so many jobs in two pieces, where a worker's answer to a piece is this function's."""

    class Workers(FakeBackend):
        def submit(self, function, tasks):
            future: Future = Future()
            try:
                future.set_result(answer([number for number, _ in tasks]))
            except Exception as error:
                future.set_exception(error)
            return future

    tasks = [(number, (f"a={number}",)) for number in range(count)]
    return compose(Crew(Workers({}), print), Composer(None, OmegaConf.create()), tasks, lambda: False)


@pytest.mark.parametrize(("error", "told"), [(KeyError("k"), "KeyError: 'k'"), (KILLED, "the worker that checked")])
def test_an_error_of_a_piece_that_is_composed_costs_the_job_that_has_it(error, told):
    def answer(numbers):
        if 3 in numbers:
            raise error
        return [Job(number, ()) for number in numbers]

    jobs = composed_by(answer, 8)
    assert [job.number for job in jobs] == list(range(8))
    assert [job.number for job in jobs if job.refused.startswith(told)] == [3]
    assert sum(bool(job.refused) for job in jobs) == 1


def test_what_no_job_can_help_ends_the_composing():
    def answer(numbers):
        raise RunError("the queue is full")

    with pytest.raises(RunError, match="the queue is full"):
        composed_by(answer, 8)


@pytest.mark.parametrize("sweeper", ["grid", "basic"])
def test_a_sweep_writes_nothing_beside_its_runs(sweeper, in_tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(in_tmp_path))
    assert len(configurations("-m", *TINY, "cell=rnn,gru", f"hydra/sweeper={sweeper}")) == 2
    assert list(in_tmp_path.iterdir()) == []


def test_of_many_jobs_that_were_not_begun_the_table_names_some(capsys):
    jobs = [Job(i, (f"steps={i}",), CONFIG) for i in range(1000)]
    tell(jobs, {job.number: JobOutcome("waiting", "why") for job in jobs})
    text = capsys.readouterr().out
    assert "and 980 more" in text
    assert len(text.splitlines()) < 40
    assert counts(text)["not begun"] == 1000


class Clock:
    """Seconds as the test says."""

    now = 100.0

    def __call__(self):
        return self.now


def test_the_overview_tells_steps_failures_and_the_time_left(tmp_path):
    """One of three jobs of 40 steps failed after 10 s, with 30 of them; the second is as far after 20 s more."""
    metrics = tmp_path / "metrics.jsonl"
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=120, height=30)
    jobs = [Job(i, (f"cell={i}",), CONFIG, tmp_path) for i in range(3)]
    overview = Overview(3, labels(jobs), console, clock)
    overview.start(jobs[0])
    metrics.write_text('{"step": 20}\n{"step": 30}\n{"st')
    clock.now += 10
    overview.end(jobs[0], JobOutcome("failed", "a reason"))
    metrics.unlink()
    overview.start(jobs[1])
    metrics.write_text('{"step": 30}\n')
    clock.now += 25
    overview.look(force=True)
    overview.bar.refresh()
    overview.close()
    text = screen.getvalue()
    # 1 and 3/4 jobs in 35 s, 1 and 1/4 are left
    assert "1/3 done, 1 running, 1 failed, about 25 s left" in text
    assert "step 30, 25 s" in text
    assert [duration(s) for s in (0.04, 12, 300, 9000)] == ["0.0 s", "12 s", "5 min", "2.5 h"]


@pytest.mark.parametrize(
    "line", [b"5", b"[]", b'{"step": null}', b'{"step": "x"}', b'{"step": 1e999}', b"\xff", b"null"]
)
def test_a_line_of_metrics_that_is_none_has_no_step(line, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(line + b"\n")
    assert last_step(Job(0, (), CONFIG, tmp_path)) == 0


def test_keys_of_the_launchers_and_sweepers_are_checked(in_tmp_path, capfd):
    for arguments, words in (
        (["-m", *TINY, "ray_address=auto"], "hydra/launcher=ray"),
        (["-m", *TINY, "hydra/launcher=ray", "hydra.launcher.cpus=0"], "hydra.launcher.cpus"),
        (["-m", *TINY, "steps=range(1,1000000000000)"], "steps=range(1,1000000000000): more than 100000 jobs"),
        (["-m", *TINY, "seeds=range(0,10000)", "steps=range(1,1000)"], "more than 100000 jobs"),
        (["-m", *TINY, "steps=1,2", "hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size"),
        (["-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.trials=none"], "hydra.sweeper.trials"),
        (["-m", *TINY, "hydra.sweeper.params={a:1}"], "a=1: no such key"),
        (["-m", *TINY, "hydra.sweeper.params_by_option={cell:3}"], "params_by_option: 3: not allowed. Write {GROUP"),
        (["-m", *TINY, "hydra.sweeper.params_by_option={cell:{rnn:3}}"], "not allowed. Write {GROUP: {OPTION:"),
    ):
        assert run_command_line(arguments) == 2
        assert words in capfd.readouterr().err


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        (["hydra/launcher=null"], "hydra/launcher=null: not allowed. Choose an option of the group"),
        (
            ["hydra/launcher=slurm", "hydra.launcher.cluster=pbs"],
            "hydra.launcher.cluster=pbs: not allowed. Allowed: slurm",
        ),
        (
            ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.parameters.timeout_min=abc"],
            "hydra.launcher.parameters={timeout_min: abc",
        ),
        (
            ["hydra/launcher=ray", "ray_address=localhost"],
            "ray_address=localhost: not allowed. Allowed: auto, HOST:PORT",
        ),
    ],
)
def test_a_wrong_launcher_is_refused_and_nothing_written(launcher, message, in_tmp_path, capfd):
    pytest.importorskip("submitit")
    assert rnnlab("-m", "cell=rnn,gru", *launcher) == 2
    assert capfd.readouterr().err.startswith(f"rnnlab: {message}")
    assert not list(in_tmp_path.iterdir())
