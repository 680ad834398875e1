"""Probes watch: with them, training is what it would be without, to the bit, and their schedule is kept."""

import numpy as np
import pytest
import torch
from helpers import adjoints, metrics, only_run, read_probes, rnnlab, weights
from hydra.utils import get_object
from support import composed, leaf, options

from rnnlab import device
from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.runs.digest import digest
from rnnlab.schema import validate
from rnnlab.sinks.probe_files import ProbeFiles
from rnnlab.timetable import Timetable

PROBES = options("probe")


def often(name: str) -> list[str]:
    return [f"+probe@probes.{name}={name}", f"probes.{name}.every=2", f"probes.{name}.first=3"]


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("setting", [["cell=lstm"], ["cell=gru", "task.shortest=4", "probe.every=0"], ["cell=rnn"]])
def test_a_probe_changes_nothing(name, setting, in_tmp_path):
    if name == "gates" and "cell=rnn" in setting:
        pytest.skip("it needs a gated cell")
    assert rnnlab(*setting, "seeds=2", "name=without") == 0
    state = torch.random.get_rng_state()
    assert rnnlab(*setting, "seeds=2", "name=with", *often(name)) == 0
    assert torch.equal(state, torch.random.get_rng_state())
    without, watched = only_run("without"), only_run("with")
    assert metrics(without) == metrics(watched)
    for key, value in adjoints(without).items():
        np.testing.assert_array_equal(value, adjoints(watched)[key])
    for seed in (0, 1):
        ours, theirs = weights(without, seed), weights(watched, seed)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert list(read_probes(watched)) == [1, 2, 3, 4, 6, 8, 10, 12]
    assert not (without / "probes").exists()


def test_every_probe_finds_the_same_in_a_population_and_alone(in_tmp_path):
    assert rnnlab("probes=full", "seeds=[4,1]", "dtype=float64", "name=population") == 0
    assert rnnlab("probes=full", "seeds=[1]", "dtype=float64", "name=solo") == 0
    together, alone = read_probes(only_run("population")), read_probes(only_run("solo"))
    assert together.keys() == alone.keys()
    for step, measured in alone.items():
        assert {name.split(".")[0] for name in measured} <= {"seed", *PROBES}
        for name, value in measured.items():
            np.testing.assert_allclose(together[step][name][1:], value, rtol=1e-6, atol=1e-9, err_msg=name)


def test_an_interrupted_run_ends_with_the_files_of_an_uninterrupted_one(in_tmp_path, monkeypatch):
    from rnnlab.training import session

    setting = ["probes=full", "seeds=2", *[f"probes.{name}.every=1" for name in PROBES]]
    assert rnnlab(*setting, "name=whole") == 0
    train, steps = session.train, iter(range(1000))

    def interrupted_train(*args, **kwargs):
        kwargs["interrupted"] = lambda: next(steps) >= 6
        return train(*args, **kwargs)

    monkeypatch.setattr(session, "train", interrupted_train)
    assert rnnlab(*setting, "name=cut") == 130
    monkeypatch.setattr(session, "train", train)
    assert rnnlab(*setting, "name=cut") == 0
    whole, cut = read_probes(only_run("whole")), read_probes(only_run("cut"))
    assert list(whole) == list(cut) == list(range(1, 13))
    for step, measured in whole.items():
        for name, value in measured.items():
            np.testing.assert_array_equal(value, cut[step][name], err_msg=f"{step} {name}")


def test_files_of_a_session_that_was_killed_after_its_checkpoint_go(in_tmp_path):
    assert rnnlab("probes=full", "name=a") == 0
    folder = only_run("a") / "probes"
    kept = {"step-00000001.npz": digest((folder / "step-00000001.npz").read_bytes())}
    ProbeFiles(folder, kept).probes(13, [0], {"weights.x": np.zeros(1)})
    ProbeFiles(folder, kept)
    assert [p.name for p in folder.iterdir()] == ["step-00000001.npz"]


def test_reading_late_gives_the_same_files(in_tmp_path, monkeypatch):
    blowing_up = [
        "cell=rnn", "activation=identity", "initialiser=identity", "initialiser.scale=1.3", "clipping=none",
        "optimiser=sgd", "optimiser.lr=3e-12", "task.length=40", "steps=12", "seeds=6", "log.every=12", "probe.every=0",
        "probes=full", *[f"probes.{name}.every=6" for name in PROBES],
    ]  # fmt: skip
    assert rnnlab(*blowing_up, "name=at_once") == 0
    monkeypatch.setattr(device, "AT_ONCE", ())
    assert rnnlab(*blowing_up, "name=late") == 0
    at_once, late = read_probes(only_run("at_once")), read_probes(only_run("late"))
    assert len({len(measured["seed"]) for measured in at_once.values()}) > 1, "some replicas must have diverged"
    assert at_once.keys() == late.keys()
    for step, measured in at_once.items():
        for name, value in measured.items():
            np.testing.assert_allclose(value, late[step][name], rtol=1e-5, atol=1e-8, err_msg=f"{step} {name}")


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        ({"every": 5, "first": 0, "per_decade": 0}, [5, 10, 15, 20]),
        ({"every": 0, "first": 3, "per_decade": 0}, [1, 2, 3]),
        ({"every": 0, "first": 0, "per_decade": 1}, [1, 10]),
        ({"every": 0, "first": 0, "per_decade": 2}, [1, 3, 10]),
        ({"every": 9, "first": 1, "per_decade": 4}, [1, 2, 3, 6, 9, 10, 18]),
        ({"every": 0, "first": 0, "per_decade": 0}, []),
    ],
)
def test_a_timetable(schedule, steps):
    assert [step for step in range(1, 21) if Timetable(**schedule).due(step)] == steps
    assert Timetable(**schedule).empty == (not steps)


def test_per_decade_spreads_evenly_on_a_logarithmic_axis():
    steps = np.array(list(filter(Timetable(every=0, first=0, per_decade=10).due, range(1, 100_001))))
    assert len(steps) == pytest.approx(50, abs=5)  # the first steps are too close together to have ten per decade
    late = np.log10(steps[steps > 50])
    np.testing.assert_allclose(np.diff(late), 0.1, atol=0.01)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_made_without_its_timetable_which_is_the_experiment_s(name):
    raw = composed(f"+probe@probes.{name}={name}", f"probes.{name}.every=7", "cell=lstm")
    experiment = build(validate(raw))
    assert experiment.timetables[name].every == 7
    for key in ("every", "first", "per_decade"):
        assert not hasattr(experiment.probes[name], key)


@pytest.mark.parametrize("key", ["every", "first", "per_decade"])
def test_the_keys_of_a_timetable_are_checked_like_a_probe_s_own(key):
    raw = composed("+probe@probes.gates=gates")
    with pytest.raises(ConfigError, match=rf"^probes\.gates\.{key}=-1: not allowed"):
        validate({**raw, "probes": {"gates": {**raw["probes"]["gates"], key: -1}}})
    del raw["probes"]["gates"][key]
    with pytest.raises(ConfigError, match=rf"^probes\.gates\.{key}: missing"):
        validate(raw)


def test_a_timetable_is_no_probe():
    raw = composed("+probe@probes.gates=gates")
    raw["probes"]["gates"]["_target_"] = "rnnlab.timetable.Timetable"
    with pytest.raises(ConfigError, match=r"probes\.gates may be a component of rnnlab\.probes"):
        validate(raw)


def test_a_probe_that_would_never_run_is_refused(in_tmp_path, capsys):
    key = PROBES[0]
    off = [f"probes.{key}.{part}=0" for part in ("every", "first", "per_decade")]
    assert rnnlab("probes=full", *off) == 2
    assert f"probes.{key}: not allowed. It would never run" in capsys.readouterr().err


def test_probes_left_out_leave_the_run_s_name_alone_and_probes_taken_change_it(in_tmp_path):
    for name, arguments in {"a": ["probes=none"], "b": [], "c": ["probes=full"]}.items():
        assert rnnlab("steps=1", f"name={name}", *arguments) == 0
    assert only_run("a").name == only_run("b").name != only_run("c").name


def test_every_probe_says_what_it_needs():
    from rnnlab.probes.probe import NEEDS

    for name in PROBES:
        assert set(get_object(leaf("probe", name)["_target_"]).needs) <= set(NEEDS)
