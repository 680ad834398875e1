"""More steps of a run that has ended: it goes on where that gives what it would have been in one go."""

import sys
from pathlib import Path

import pytest
from helpers import TINY, canonical_files, read, rnnlab
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from rnnlab.runs.record import Record
from rnnlab.schedules.constant import Constant
from rnnlab.training import checkpoint

EVERY = ["evaluate.every=5", "log.every=5", "checkpoint.every=5"]
SETTINGS = [
    ["seeds=2", "probes=full", "probes.jacobian.every=4", "cell.hidden=4", "task.length=4"],
    ["seeds=2", "clipping=zclip", "optimiser=adamw", "dropout=variational", "gradient_noise=annealed"],
    ["seeds=3", "task.solved_mse=0.2", "stop_when_solved=true"],  # one rests before the shorter run's end
    ["seeds=3", "task.solved_mse=0.2", "stop_when_solved=false", "checkpoint.every=100"],  # its last one tells the end
    ["seeds=2", "optimiser.lr=1e30"],  # which diverge
]


def run(name, *settings):
    """The folder of the run of this name that has the most steps."""
    assert rnnlab(*TINY, *EVERY, f"name={name}", *settings) == 0
    return max(Path("runs", name).glob("*-*"), key=lambda folder: Record(folder).config["steps"])


def results(folder):
    """All that must not depend on how the run came about, and what the probes measured."""
    probed = {path.name: path.read_bytes() for path in sorted((folder / "probes").glob("*.npz"))}
    return {**canonical_files(folder), "config.yaml": b"", "probes": probed}


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_longer_run_goes_on_and_ends_with_the_same_files(settings, in_tmp_path, capsys):
    whole = results(run("whole", *settings, "steps=20"))
    shorter = run("longer", *settings, "steps=10")
    before = results(shorter)
    capsys.readouterr()
    longer = run("longer", *settings, "steps=20")
    ended = max(result["steps"] for result in before["summary"]["seeds"])
    assert f"Going on from step {ended} of {shorter}, which differs in having steps=10." in capsys.readouterr().out
    assert results(longer) == whole
    assert results(shorter) == before, "nothing of it is changed"
    manifest = read(longer, "manifest.json")
    assert manifest["continues"] == shorter.name
    assert [session["from_step"] for session in manifest["sessions"]] == [0, ended]
    assert not Record(longer).damage()


def events(folder):
    kinds = {"scalars": 0, "images": 0}
    return EventAccumulator(str(folder / "tensorboard"), kinds).Reload()


def test_its_curves_in_tensorboard_begin_with_the_first_step(in_tmp_path):
    settings = ["seeds=2", "tensorboard=true", "probe.every=5"]
    whole = events(run("whole", *settings, "steps=10"))
    run("longer", *settings, "steps=5")
    longer = events(run("longer", *settings, "steps=10"))
    assert longer.Tags() == whole.Tags()
    for tag in whole.Tags()["scalars"]:
        curves = [{e.step: e.value for e in run.Scalars(tag)} for run in (whole, longer)]
        assert curves[0] == pytest.approx(curves[1], nan_ok=True), tag
    pictures = [[e.step for e in run.Images("adjoint/heat_map_h")] for run in (whole, longer)]
    assert pictures == [[5, 10], [5, 10]]
    begun = longer.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert parse_session_start_info_plugin_data(begun).hparams["steps"].number_value == 10


@pytest.mark.parametrize("steps", [7, 8])
def test_a_last_step_out_of_turn_is_not_gone_on_from(steps, in_tmp_path, capsys):
    """The longer run neither evaluates nor logs there."""
    whole = results(run("whole", "steps=20"))
    shorter = run("longer", f"steps={steps}")
    longer = run("longer", "steps=20")
    assert f"Going on from step 5 of {shorter}, which differs in having steps={steps} (evaluate.every=5 would not" in (
        capsys.readouterr().out
    )
    assert results(longer) == whole


def test_one_with_no_checkpoint_to_go_on_from_is_told(in_tmp_path, capsys):
    whole = results(run("whole", "checkpoint.every=100", "steps=20"))
    shorter = run("longer", "checkpoint.every=100", "steps=7")
    longer = run("longer", "checkpoint.every=100", "steps=20")
    assert f"Not going on with {shorter}, which differs in having steps=7: it has no checkpoint" in (
        capsys.readouterr().out
    )
    assert results(longer) == whole
    assert read(longer, "manifest.json")["continues"] is None


def test_only_what_a_schedule_gives_both_is_gone_on_with(in_tmp_path, capsys):
    """Warm-up knows nothing of the steps to come."""
    settings = ["schedule=warmup_cosine", "schedule.warmup=5", "checkpoint.keep=3"]
    whole = results(run("whole", *settings, "steps=20"))
    shorter = run("longer", *settings, "steps=10")
    longer = run("longer", *settings, "steps=20")
    assert (
        f"Going on from step 5 of {shorter}, which differs in having steps=10 (schedule=warmup_cosine depends on"
        in (capsys.readouterr().out)
    )
    assert results(longer) == whole
    run("late", "schedule=warmup_cosine", "schedule.warmup=2", "steps=10")
    run("late", "schedule=warmup_cosine", "schedule.warmup=2", "steps=20")
    assert "that would give the same (schedule=warmup_cosine depends on steps)." in capsys.readouterr().out


def test_nothing_is_taken_from_what_is_damaged_of_another_configuration_or_not_asked_for(in_tmp_path, capsys):
    whole = results(run("whole", "steps=20"))
    shorter = run("longer", "steps=10")
    run("longer", "steps=10", "optimiser.lr=0.5")
    (newest,) = (shorter / "checkpoint").glob("step-00000010-*")
    newest.write_bytes(newest.read_bytes()[:-1])
    capsys.readouterr()
    assert results(run("longer", "steps=20")) == whole
    assert f"Going on from step 5 of {shorter}" in (told := capsys.readouterr().out)
    assert "does not match its checksum" in told
    assert newest.exists(), "a damaged file of another run is not set aside"
    (shorter / "metrics.jsonl").write_bytes(b"")
    assert results(run("longer", "steps=30", "force=true")) == results(run("whole", "steps=30", "force=true"))
    assert "oing on" not in capsys.readouterr().out


def test_steps_that_were_never_taken_are_not_gone_through(in_tmp_path, capsys):
    """One by one, a billion would take minutes; the run was solved at once."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Constant, "factor", lambda self, step, steps: asked.append(step) or 1.0)
        for steps in ("1000000000", "2000000000"):
            run("longer", "task.solved_mse=100", f"steps={steps}")
    assert "Going on from step 0 of " in capsys.readouterr().out
    assert not asked


def test_a_shorter_run_that_cannot_be_looked_at_is_told(in_tmp_path, capsys):
    shorter = run("longer", "steps=10")
    (shorter / "manifest.json").write_text("{}")
    assert rnnlab(*TINY, *EVERY, "name=longer", "steps=20") == 0
    assert f"Whether this goes on with {shorter} cannot be told: " in capsys.readouterr().err


def test_the_longest_that_serves_is_gone_on_with_and_one_cut_off_at_once_begins_again(in_tmp_path, capsys, monkeypatch):
    whole = results(run("whole", "steps=20"))
    for steps in (5, 15, 10):
        run("longer", f"steps={steps}")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", lambda *a, **k: sys.exit(3))  # after its manifest, before its checkpoint
        assert rnnlab(*TINY, *EVERY, "name=longer", "steps=20") != 0
    capsys.readouterr()
    assert results(run("longer", "steps=20")) == whole
    assert "Going on from step 15 of" in capsys.readouterr().out
