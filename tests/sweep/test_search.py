"""A search: its space, its study's file, and what is left of that when it is damaged."""

import json
import math
import os
import random
import re
import shlex
from pathlib import Path

import pytest
from helpers import TINY
from hydra.core.override_parser.overrides_parser import OverridesParser
from support import composed

from rnnlab.cli import run_command_line
from rnnlab.contract import ConfigError, InUseError, RunError
from rnnlab.sweep.job import objective
from rnnlab.sweep.search import Search, chosen

pytest.importorskip("optuna", reason="Optuna is not installed (pip install 'rnnlab[optuna]')")

CONFIG = composed()
LOG_RATE = "optimiser.lr=tag(log,interval(1e-4,1e-1))"
DISTANCE = "the distance from the best learning rate"


def parsed(*arguments):
    return OverridesParser.create().parse_overrides(list(arguments))


def space_of(*arguments):
    return dict(chosen(parsed(*arguments), CONFIG))


def search(folder, losses=lambda rate: abs(math.log10(rate) + 2), trials=8, at_once=2, fixed=(), refused=()):
    """A search whose launches look the losses up by a function; the learning rates that were launched."""
    asked = []

    def launch(overrides, first, begin):
        rates = [float(one[-1].split("=")[1]) for one in overrides]
        asked.extend(rates)
        if "all" in refused:
            return [math.nan] * len(rates)
        begin()
        return [losses(rate) for rate in rates]

    made(folder, trials=trials, fixed=fixed).run(launch, at_once)
    return asked


def made(folder, *, trials, fixed=()):
    space = space_of(LOG_RATE)
    return Search(folder, fixed=list(fixed), space=space, trials=trials, seed=0, command=shlex.join)


def test_a_search_stays_in_its_space_and_goes_on_where_it_stopped(tmp_path, capsys):
    first = search(tmp_path, trials=5)
    assert len(first) == 5
    assert all(1e-4 <= rate <= 1e-1 for rate in first)
    second = search(tmp_path, trials=8)
    assert len(second) == 3
    assert not set(first) & set(second), "other points than the first session's"
    assert search(tmp_path, lambda rate: 1.0, trials=8) == []
    assert "Best of 8 trials" in capsys.readouterr().out


def test_a_search_learns_from_its_trials(tmp_path):
    rates = search(tmp_path, trials=40, at_once=1)
    early, late = ([abs(math.log10(rate) + 2) for rate in part] for part in (rates[:10], rates[-10:]))
    assert sum(late) < sum(early)


def test_trials_without_an_objective_do_not_end_a_search_and_are_tried_again(tmp_path):
    first = search(tmp_path, lambda rate: math.nan if rate > 1e-3 else 1.0, trials=6)
    assert len(first) == 6
    failed = [rate for rate in first if rate > 1e-3]
    assert failed
    assert search(tmp_path, lambda rate: 1.0, trials=6) == failed


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


def test_one_process_at_a_time_works_on_a_study(tmp_path):
    def meanwhile(rate):
        with pytest.raises(InUseError, match="another process"):
            search(tmp_path)
        return 1.0

    assert len(search(tmp_path, meanwhile, trials=2)) == 2


def test_where_nothing_learnt_no_best_is_named(tmp_path, capsys):
    """Trials whose runs diverged have results; they are not made again."""
    assert len(search(tmp_path, lambda rate: math.inf, trials=3)) == 3
    text = capsys.readouterr().out
    assert "None of 3 trials" in text
    assert "Best" not in text
    assert search(tmp_path, trials=3) == []
    assert len(search(tmp_path, trials=4)) == 1
    assert "Best of 4 trials" in capsys.readouterr().out


@pytest.mark.parametrize(("lr", "learnt"), [("1e30", False), ("1e-3", True)])
def test_the_objective_of_a_run_is_a_loss_from_training(lr, learnt, in_tmp_path):
    sick = ["cell=rnn", "activation=identity", "optimiser=sgd", f"optimiser.lr={lr}", "clipping=none"]
    assert run_command_line([*TINY, *sick]) == 0
    ((_, run),) = [(p.name, p) for p in Path("runs/default").iterdir()]
    assert math.isfinite(objective(run)) == learnt
    assert json.loads((run / "summary.json").read_text())["seeds"][0]["best_eval_loss"] is not None


def test_what_keys_are_drawn_from():
    space = space_of("a=1,2", "b=range(2,8,2)", "c=interval(1,9)", "d=interval(0.5,1)", "steps=7")
    assert set(space) == {"a", "b", "c", "d"}
    assert list(space["a"].choices) == [1, 2]
    assert list(space["b"].choices) == [2, 4, 6]
    assert (space["c"].low, space["c"].high) == (1, 9)
    for wrong in ("a=interval(3,1)", "a=interval(0,inf)", "a=tag(log,interval(0,1))", "a=range(1,1000000000000)"):
        with pytest.raises(ConfigError, match="not allowed"):
            space_of(wrong)


@pytest.mark.parametrize(
    ("key", "whole"),
    [
        *((key, True) for key in ("cell.hidden", "task.length", "steps", "task.shortest", "evaluate.every", "seeds")),
        *((key, False) for key in ("optimiser.lr", "clipping.max_norm", "optimiser.beta1")),
    ],
)
def test_whole_bounds_mean_whole_numbers_where_the_key_is_one(key, whole):
    from optuna.distributions import FloatDistribution, IntDistribution

    for text in (f"{key}=interval(8,16)", f"{key}=tag(log,interval(8,16))"):
        drawn = space_of(text)[key]
        assert isinstance(drawn, IntDistribution if whole else FloatDistribution)
        assert (drawn.low, drawn.high, drawn.log) == (8, 16, "log" in text)
    assert isinstance(space_of(f"{key}=interval(8.5,16)")[key], FloatDistribution)


@pytest.mark.parametrize("trials", [10**12, 3])
def test_huge_numbers_make_batches_of_what_can_be_held(trials, tmp_path):
    sizes = []

    def launch(overrides, first, begin):
        sizes.append(len(overrides))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, trials=trials).run(launch, 10**9)
    assert sizes == [min(trials, 1000)]


def test_a_search_with_no_right_configuration_writes_nothing(tmp_path):
    assert len(search(tmp_path / "new", refused=("all",))) == 2, "the first batch alone"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["name=../../ESCAPED", "name=/tmp/x", "name=..", "name=", "cell=nope", "steps=-1"])
def test_a_wrong_command_writes_nothing_anywhere(wrong, in_tmp_path, capfd):
    here = in_tmp_path / "a" / "b"
    here.mkdir(parents=True)
    os.chdir(here)
    command = ["-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.trials=1", "optimiser.lr=interval(1e-4,1e-1)"]
    assert run_command_line([*command, wrong]) == 2
    assert wrong.split("=")[0] in capfd.readouterr().err
    assert [p for p in in_tmp_path.rglob("*") if p not in (here, here.parent)] == []


def damages(content):
    """A journal that was cut, zeroed, written over, or put in another order; with the parts that are surely good."""
    lines = content.splitlines(keepends=True)
    middle = len(content) // 2
    third = len(lines) // 3
    yield "torn", content[:-15]
    yield "a byte short", content[:-1]
    yield "zeros", content[:middle] + bytes(20) + content[middle + 20 :]
    yield "junk at the end", content + b"\xff\xfejunk\n"
    yield "junk without an end", content + b"{"
    yield "blank line", content + b"\n"
    yield "junk", b"\x00\x01nothing of the kind\n"
    yield "empty", b""
    for number, line in enumerate(
        (b"5", b"[]", b"null", b'"x"', b"{}", b'{"op_code":99,"worker_id":"w"}', b"[" * 10**5)
    ):
        yield f"another shape {number}", b"".join([*lines[:third], line + b"\n", *lines[third:]])
    wrong = json.dumps({"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": 5}).encode() + b"\n"
    yield "wrong type", b"".join([*lines[:third], wrong, *lines[third:]])
    yield "reversed", b"".join(reversed(lines))
    yield "without the beginning", b"".join(lines[1:])
    yield "twice", content + content


NAMES = [name for name, _ in damages(b"{}\n" * 9)]


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_journal_costs_what_is_behind_the_damage(name, tmp_path, capsys):
    first = search(tmp_path, trials=6)
    file = tmp_path / "study.journal"
    whole = file.read_bytes()
    damaged = dict(damages(whole))[name]
    file.write_bytes(damaged)
    capsys.readouterr()
    second = search(tmp_path, trials=6)
    told = capsys.readouterr()
    aside = tmp_path / "study.journal.damaged"
    mended = aside.exists()
    if mended:
        assert aside.read_bytes() == damaged
        assert told.err.count("\n") == 1
        assert str(file) in told.err
        assert "trials are kept" in told.err
    assert "Best of 6 trials" in told.out
    same = [a == b for a, b in zip(whole, damaged, strict=False)]
    good = whole[: [*same, False].index(False)]
    kept = sum(b'"op_code":6' in line and b'"state":1' in line for line in good.splitlines()[:-1])
    assert len(second) <= 6 - kept, "what is before the damage stays"
    assert search(tmp_path, trials=6) == []
    assert not (tmp_path / "study.journal.damaged-2").exists()
    assert len(first) == 6


def test_random_damage_never_ends_a_search(tmp_path):
    draw = random.Random(0)
    search(tmp_path, trials=4)
    file = tmp_path / "study.journal"
    whole = file.read_bytes()
    for _ in range(25):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(content))
            content[at : at + draw.randint(0, 8)] = draw.randbytes(draw.randint(0, 8))
        file.write_bytes(content)
        search(tmp_path, trials=5)


def test_damaged_journals_are_kept_beside_one_another(tmp_path):
    for _ in range(3):
        search(tmp_path, trials=2)
        file = tmp_path / "study.journal"
        file.write_bytes(file.read_bytes() + b"{")
    search(tmp_path, trials=2)
    assert sorted(p.name for p in tmp_path.glob("*.damaged*")) == [
        f"study.journal.damaged{number}" for number in ("", "-2", "-3")
    ]


def test_a_journal_that_is_a_folder_is_named(tmp_path, in_tmp_path, capfd):
    folder = in_tmp_path / "runs" / "default" / "study.journal"
    folder.mkdir(parents=True)
    with pytest.raises(RunError, match=r"study.journal.*directory"):
        search(folder.parent)
    command = ["-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.trials=1", "optimiser.lr=interval(1e-4,1e-1)"]
    assert run_command_line(command) == 1
    assert "runs/default/study.journal" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo"])
def test_what_is_no_file_is_refused_before_anything_else(kind, tmp_path):
    search(tmp_path / "here", trials=1)
    names = [path.name for path in (tmp_path / "here").iterdir()]
    assert len(names) == 3, "the journal and two locks"
    elsewhere = tmp_path / "elsewhere"
    for name in names:
        folder = tmp_path / f"there{name}"
        folder.mkdir()
        if kind == "fifo":
            os.mkfifo(folder / name)
        else:
            (folder / name).symlink_to(elsewhere)
        if kind == "link":
            elsewhere.write_bytes((tmp_path / "here" / name).read_bytes())
        with pytest.raises(RunError, match=f"{name}: (a symbolic link|neither a file)"):
            made(folder, trials=2)
        assert [path.name for path in folder.iterdir()] == [name]
        elsewhere.unlink(missing_ok=True)


def test_a_search_for_nothing_is_refused(in_tmp_path, capfd):
    assert run_command_line(["-m", *TINY, "hydra/sweeper=optuna"]) == 2
    told = capfd.readouterr().err
    assert "nothing to search" in told
    assert told.count("\n") == 1
    assert list(in_tmp_path.iterdir()) == []


def test_a_lock_that_was_left_behind_holds_nobody_up(tmp_path, monkeypatch):
    """What a killed process leaves: Optuna's links, and lock files that nobody holds."""
    search(tmp_path, trials=2)
    (tmp_path / "study.journal.lock").symlink_to("study.journal")
    assert list(tmp_path.glob(".study*.lock"))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits"))
    assert len(search(tmp_path, trials=4)) == 2


def test_a_search_on_the_command_line_ends_with_its_trials(in_tmp_path, capfd, forked_workers):
    given = [override for override in TINY if not override.startswith("cell.hidden")]
    command = ["-m", *given, "hydra/sweeper=optuna", "hydra.sweeper.trials=2", "cell.hidden=interval(2,6)"]
    assert run_command_line(command) == 0
    output = capfd.readouterr().out
    assert "2 jobs: 2 finished" in output
    assert "Best of 2 trials" in output
    hidden = re.search(r"with cell.hidden=(\d+)", output)[1]
    *_, command = [line for line in output.splitlines() if line.startswith("  python -m rnnlab")]
    assert run_command_line(shlex.split(command)[3:]) == 0
    (again,) = Path("runs/default-best").glob("*/config.yaml")
    assert f"hidden: {hidden}\n" in again.read_text()
    found = {float(p.read_text().split("hidden: ")[1].split()[0]) for p in Path("runs/default").glob("*/config.yaml")}
    assert all(hidden.is_integer() and 2 <= hidden <= 6 for hidden in found)
