"""A damaged file is named, costs its own run at most, and what is made again comes out the same to the bit."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, canonical_files, only_run, read, rnnlab, seal
from support import composed

from rnnlab.build import build
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.report.__main__ import main as report
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.record import Record
from rnnlab.schema import validate
from rnnlab.training import session
from rnnlab.training.loop import train
from rnnlab.training.resume import newest

SETTING = ["seeds=2", "cell=rnn", "probes=cheap", "probes.saturation.every=3", "checkpoint.every=4"]


def whole_files(folder):
    """`canonical_files`, and those of the probes."""
    probes = {path.name: path.read_bytes() for path in sorted((folder / "probes").glob("step-*.npz"))}
    return canonical_files(folder) | probes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two folders: of a run that ended, and of the same run interrupted after step 10, with checkpoints at 4, 8, 10."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert rnnlab(*SETTING) == 0
        shutil.move("runs", "finished")
        patch.setattr(session, "train", lambda *a, **k: train(*a, **{**k, "interrupted": lambda: a[2].step >= 10}))
        assert rnnlab(*SETTING) == 130
        shutil.move("runs", "interrupted")
    return folder


@pytest.fixture
def finished(made, in_tmp_path):
    shutil.copytree(made / "finished", "runs")
    return only_run()


@pytest.fixture
def interrupted(made, in_tmp_path):
    shutil.copytree(made / "interrupted", "runs")
    return only_run()


@pytest.fixture(scope="module")
def whole(made):
    (folder,) = (made / "finished" / "default").iterdir()
    return whole_files(folder)


def flip_digit(content: bytes) -> bytes:
    """The first loss, told otherwise."""
    at = content.index(b'"loss": ') + 8
    return content[:at] + (b"7" if content[at : at + 1] != b"7" else b"3") + content[at + 1 :]


def zero(content: bytes) -> bytes:
    """Fifteen bytes in the middle, as a disk loses them."""
    at = len(content) // 2
    return content[:at] + bytes(15) + content[at + 15 :]


OTHER_SHAPES = [b"[]", b"null", b"{}", b'"x"', b"7", b"", b"{", b"\xff\xfe\x00", b"[" * 100_000]
DAMAGE = {"digit": flip_digit, "zeros": zero, "cut": lambda c: c[: len(c) // 3], "empty": lambda c: b""}


def test_an_undamaged_run_has_no_damage(finished):
    assert Record(finished).damage() == []


def test_every_file_of_a_finished_run_is_vouched_for(finished):
    """By the manifest, or by itself: a checkpoint by its name."""
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    themselves = {name for name in files if name.startswith("checkpoint/")} | {"manifest.json", "config.yaml"}
    assert files - {".lock"} == themselves | Record(finished).files.keys()


@pytest.mark.parametrize("damage", DAMAGE)
def test_metrics_damaged_before_the_checkpoint_are_set_aside_and_made_again(damage, interrupted, whole, capfd):
    path = interrupted / "metrics.jsonl"
    damaged = DAMAGE[damage](path.read_bytes())
    path.write_bytes(damaged)
    assert rnnlab(*SETTING) == 0
    said = capfd.readouterr().err
    assert "metrics.jsonl" in said
    assert "set aside as metrics.jsonl.damaged" in said
    assert (interrupted / "metrics.jsonl.damaged").read_bytes() == damaged
    assert whole_files(interrupted) == whole


def test_the_newest_state_that_is_whole_is_taken(interrupted, whole, capfd):
    """Damage after the checkpoint of step 4 costs what came after it, and no more."""
    path = interrupted / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    late = next(k for k, line in enumerate(lines) if json.loads(line)["step"] > 4)
    path.write_bytes(b"".join([*lines[:late], b"damage\n", *lines[late + 1 :]]))
    assert rnnlab(*SETTING) == 0
    captured = capfd.readouterr()
    assert "goes on from step 4, the newest state that is whole" in captured.err
    assert whole_files(interrupted) == whole


def test_metrics_that_are_gone_start_the_run_from_nothing(interrupted, whole, capfd):
    (interrupted / "metrics.jsonl").unlink()
    assert rnnlab(*SETTING) == 0
    assert "starts from nothing" in capfd.readouterr().err
    assert whole_files(interrupted) == whole


@pytest.mark.parametrize("damage", ["zeros", "cut", "empty"])
@pytest.mark.parametrize("tensorboard", [True, False])
def test_a_damaged_probe_file_is_set_aside_and_made_again(damage, tensorboard, interrupted, whole, capfd):
    path = max((interrupted / "probes").iterdir())
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert rnnlab(*SETTING, f"tensorboard={str(tensorboard).lower()}") == 0
    said = capfd.readouterr().err
    assert f"{path.name}: " in said
    assert "Traceback" not in said
    assert path.with_name(path.name + ".damaged").exists()
    files = whole_files(interrupted)
    assert files.pop("config.yaml") is not None
    assert files == {key: value for key, value in whole.items() if key != "config.yaml"}


@pytest.mark.parametrize("content", OTHER_SHAPES)
@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_a_manifest_of_another_shape_is_set_aside(content, state, made, in_tmp_path, whole, capfd):
    shutil.copytree(made / state, "runs")
    folder = only_run()
    (folder / "manifest.json").write_bytes(content)
    assert rnnlab(*SETTING) == 0
    said = capfd.readouterr().err
    assert "manifest.json: " in said
    assert (folder / "manifest.json.damaged").read_bytes() == content
    assert whole_files(folder) == whole


@pytest.mark.parametrize("content", OTHER_SHAPES)
def test_a_summary_of_another_shape_is_written_again(content, finished, whole, capfd):
    (finished / "summary.json").write_bytes(content)
    assert rnnlab(*SETTING) == 0
    said = capfd.readouterr().err
    assert "summary.json: " in said
    assert len(said.strip().splitlines()) == 1
    assert whole_files(finished) == whole


@pytest.mark.parametrize("name", ["adjoints.npz", "config.yaml", "summary.json"])
def test_what_follows_from_the_last_checkpoint_is_written_again(name, finished, whole, capfd):
    (finished / name).unlink()
    assert rnnlab(*SETTING) == 0
    assert f"{name}: is missing" in capfd.readouterr().err
    assert whole_files(finished) == whole


@pytest.mark.parametrize("name", ["metrics.jsonl", "probes/step-00000001.npz"])
def test_a_finished_run_is_not_trained_again_unasked(name, finished, whole, capfd):
    path = finished / name
    path.write_bytes(zero(path.read_bytes()))
    before = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    assert rnnlab(*SETTING) == 1
    said = capfd.readouterr().err
    assert path.name in said
    assert "force=true" in said
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file() and p.name != ".lock"} == before
    assert rnnlab(*SETTING, "force=true") == 0
    assert whole_files(finished) == whole


def state_file(folder, content, step=11):
    """A checkpoint with this content and the right name; where it is not of an earlier step, newer than the others."""
    import hashlib
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    written = buffer.getvalue()
    path = folder / "checkpoint" / f"step-{step:08d}-{hashlib.sha256(written).hexdigest()[:16]}.pt"
    path.write_bytes(written)
    return path


def newest_state(folder):
    import torch

    return torch.load(max((folder / "checkpoint").glob("*.pt")), weights_only=True)


FOREIGN = {
    "a list": lambda state: [1, 2],
    "nothing": lambda state: None,
    "an empty dict": lambda state: {},
    "another run's": lambda state: state | {"run_id": "another"},
    "another net's": lambda state: state | {"population": state["population"] | {"weights": {}}},
    "smaller weights": lambda state: _smaller(state),
    "other seeds": lambda state: state | {"progress": {"step": 11, "results": {}}},
    "wrong types": lambda state: state | {"progress": {"step": "x", "results": 5}},
    "no norms": lambda state: state | {"adjoints": {"step": [1], "norm": None}},
    "strange files": lambda state: state | {"probes": {"../../x": {"bytes": 1, "sha256": ""}}},
    "no digest": lambda state: state | {"metrics": {}},
}


def _smaller(state):
    for weights in state["population"]["weights"].values():
        weights["cell.weight_input"] = weights["cell.weight_input"][:1]
    return state


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_checkpoint_that_is_not_ours_is_set_aside_and_the_one_before_used(change, interrupted, whole, capfd):
    path = state_file(interrupted, change(newest_state(interrupted)))
    assert rnnlab(*SETTING) == 0
    captured = capfd.readouterr()
    assert f"{path.name}: " in captured.err
    assert "Going on from step 10" in captured.out
    path.with_name(path.name + ".damaged").unlink()
    assert whole_files(interrupted) == whole


def test_damage_of_one_run_costs_no_other_its_report(finished, capfd):
    sound = finished.with_name("sound")
    shutil.copytree(finished, sound)
    for name in ("manifest.json", "config.yaml", "summary.json", "metrics.jsonl", "adjoints.npz"):
        copy = finished.with_name(f"without-{name}")
        shutil.copytree(sound, copy)
        (copy / name).write_bytes(zero((copy / name).read_bytes()))
    assert report(["runs"]) == 0
    captured = capfd.readouterr()
    assert "5 runs" in captured.out
    for name in ("manifest.json", "config.yaml", "summary.json", "metrics.jsonl"):
        assert f"without-{name}: {name}: " in captured.err
    page = Path("report/index.html").read_text()
    assert "adjoints.npz: does not match its checksum; its adjoint norms are left out" in page
    assert "its curves are left out" in page


def test_the_report_counts_lines_that_cannot_be_read(finished, capfd):
    path = finished / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"split": "train"', b'"split": "trian"', 2))
    assert report(["runs"]) == 0
    assert "2 of 22 lines cannot be read" in capfd.readouterr().err
    (finished / "metrics.jsonl").unlink()
    assert report(["runs"]) == 0
    assert "metrics.jsonl: is missing" in capfd.readouterr().err
    assert diagnose([str(finished)]) == 0
    assert "metrics.jsonl: is missing" in capfd.readouterr().err


def test_a_flag_of_the_archive_costs_only_the_norms(finished, capfd):
    """Bit 5 of a zip's flags says `patched data`, which the reader of the archive does not know."""
    path = finished / "adjoints.npz"
    content = bytearray(path.read_bytes())
    content[6] |= 1 << 5
    content[content.rindex(b"PK\x01\x02") + 8] |= 1 << 5
    path.write_bytes(content)
    seal(finished)  # as from a stranger
    assert report(["runs"]) == 0
    assert diagnose([str(finished)]) == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_to_a_file_goes_unseen(seed, finished):
    """Any byte of any file that is read, altered: DamagedError, or the same data as before."""
    record, draw = Record(finished), random.Random(seed)
    sound = _everything(record)
    for name in [*record.files, "manifest.json", "config.yaml"]:
        path = finished / name
        content = path.read_bytes()
        for _ in range(30):
            damaged = bytearray(content)
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            found = _everything(Record(finished))
            assert found in (sound, path), "the file that is damaged is the one that is named"
        path.write_bytes(content)


def _everything(record):
    """All data of a run, or the file that is damaged."""
    try:
        metrics, adjoints = record.metrics(), record.adjoints()
        norms = adjoints.norm_PRST.tobytes(), adjoints.step.tolist(), adjoints.state
        probes = [(step, sorted(arrays), np.sum(arrays["seed"])) for step, arrays in record.probes()]
        data = record.manifest, record.config, record.summary, metrics.rows, norms, probes
    except DamagedError as error:
        return error.path
    return record.path / "metrics.jsonl" if metrics.damage else data


def test_an_interrupted_run_that_is_whole_is_not_remarked_upon(interrupted, whole, capfd):
    assert rnnlab(*SETTING) == 0
    assert capfd.readouterr().err == ""
    assert whole_files(interrupted) == whole
    assert [s["from_step"] for s in read(interrupted, "manifest.json")["sessions"]] == [0, 10]


WRONG_INSIDE = {
    "status": lambda s: s["progress"]["results"]["0"].update(status="weird"),
    "text for a number": lambda s: s["progress"]["results"]["0"].update(best_loss="5"),
    "a part too few": lambda s: s["progress"]["results"]["0"].pop("updates"),
    "a part too many": lambda s: s["progress"]["results"]["0"].update(more=1),
    "less than none": lambda s: s["progress"]["results"]["0"].update(clipped=-1),
    "a milestone of its own": lambda s: s["progress"]["results"]["0"]["milestones"].update(x=3),
    "steps ahead": lambda s: s["progress"]["results"]["0"].update(steps=12),
    "evaluated ahead": lambda s: s["progress"].update(evaluated=11),
    "half an evaluation": lambda s: s["progress"].update(evaluated=1.0),
    "nobody trains": lambda s: s["population"].update(active=[]),
    "one trains twice": lambda s: s["population"].update(active=[0, 0, 1]),
    "another order": lambda s: s["population"].update(active=[1, 0]),
    "optimiser's options": lambda s: s["population"]["optimiser"]["param_groups"][0].update(maximize=True),
    "norms below 0": lambda s: s["adjoints"]["norm"].neg_(),
    "steps that fall": lambda s: s["adjoints"]["step"].reverse(),
    "a step ahead": lambda s: s["adjoints"]["step"].__setitem__(-1, 12),
    "gradients of another net": lambda s: s["prober"].update(previous={"x": s["adjoints"]["norm"]}),
    "seeds of nobody": lambda s: s["prober"].update(seeds=[9]),
}


def test_what_is_wrong_inside_a_checkpoint_is_found_before_it_is_used(interrupted, capfd):
    experiment = build(validate(composed(*TINY, *SETTING)))
    sound = max((interrupted / "checkpoint").glob("*.pt"))
    good = sound.read_bytes()
    for name, change in WRONG_INSIDE.items():
        sound.write_bytes(good)
        state = newest_state(interrupted)
        sound.unlink()
        change(state)
        path = state_file(interrupted, state, step=10)
        found, damaged = newest(experiment, interrupted)
        assert [error.path for error in damaged] == [path], name
        assert found is not None
        assert found.progress.step == 8
        path.unlink()


def test_what_is_no_file_is_set_aside_like_a_damaged_one(interrupted, whole, capfd):
    for name in ("config.yaml", "adjoints.npz", "summary.json", ".manifest.json.tmp", "probes/step-00000099.npz"):
        (interrupted / name).unlink(missing_ok=True)
        (interrupted / name).mkdir()
    assert rnnlab(*SETTING) == 0
    assert capfd.readouterr().err.count("is a folder, which a run does not write there; set aside as") == 5
    assert whole_files(interrupted) == whole


def test_files_that_a_session_writes_anew_are_looked_at_all_the_same(interrupted, whole, capfd):
    for name in ("config.yaml", "adjoints.npz"):
        (interrupted / name).write_bytes(zero((interrupted / name).read_bytes()))
    assert rnnlab(*SETTING) == 0
    assert capfd.readouterr().err.count("set aside as") == 2
    assert whole_files(interrupted) == whole


def test_a_diagnosis_takes_no_checkpoint_of_another_run(finished, capfd):
    state = newest_state(finished) | {"run_id": "another"}
    state["progress"]["step"] = 99
    path = state_file(finished, state, step=99)
    assert diagnose([str(finished)]) == 0
    assert f"{path.name}: is of another run, another; the checkpoint before it is taken" in capfd.readouterr().err


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_another_run_in_the_folder_is_not_taken_for_this_one(state, made, in_tmp_path, whole, capfd):
    """Nor is anything of it lost."""
    shutil.copytree(made / "finished", "runs")
    folder = only_run()
    shutil.rmtree(folder)
    assert rnnlab(*SETTING, "name=other", "optimiser.lr=0.5") == 0
    other = only_run("other")
    if state == "interrupted":
        seal(other, status="interrupted")
    metrics = (other / "metrics.jsonl").read_bytes()
    shutil.move(other, folder)
    assert rnnlab(*SETTING) == 0
    said = capfd.readouterr().err
    assert f"manifest.json: is of another run, {other.name}; set aside as manifest.json.damaged." in said
    assert (folder / "manifest.json.damaged").exists()
    assert (folder / "metrics.jsonl.damaged").read_bytes() == metrics
    for path in (folder / "checkpoint").glob("*.damaged*"):
        path.unlink()
    assert whole_files(folder) == whole


def test_the_manifest_of_another_run_costs_no_more_than_itself(interrupted, whole, capfd):
    seal(interrupted, run_id="another")
    assert rnnlab(*SETTING) == 0
    captured = capfd.readouterr()
    assert "manifest.json: is of another run, another; set aside" in captured.err
    assert "Going on from step 10" in captured.out
    assert whole_files(interrupted) == whole


def test_a_manifest_of_another_configuration_is_set_aside(finished, whole, capfd):
    content = read(finished, "manifest.json")
    RunFolder(finished).write_manifest(content | {"configuration": "0" * 64})
    assert rnnlab(*SETTING) == 0
    assert "manifest.json: is of a run of another configuration; set aside" in capfd.readouterr().err
    assert whole_files(finished) == whole


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_a_file_of_another_run_is_written_again(name, finished, whole, capfd):
    content = (finished / name).read_bytes()
    assert rnnlab(*SETTING, "name=other", "optimiser.lr=0.5") == 0
    shutil.copy(only_run("other") / name, finished / name)
    assert (finished / name).read_bytes() != content
    capfd.readouterr()
    assert rnnlab(*SETTING) == 0
    assert f"{name}: " in capfd.readouterr().err
    assert whole_files(finished) == whole


def test_damage_is_told_in_one_line_of_text(tmp_path):
    """Whatever is quoted, and whatever the folder is called."""
    odd = "\x1b[31m\x07\u202e\n\r\u2028"
    told = DamagedError(tmp_path / f"a{odd}b" / f"c{odd}d", f"has {odd} in it")
    for text in (str(told), told.short, told.damage):
        assert text.isprintable()


def test_a_manifest_cannot_write_to_the_terminal(finished, capfd):
    content = read(finished, "manifest.json")
    content["files"]["\x1b[31mRED\x07\n"] = {"bytes": 1, "sha256": "0" * 64}
    RunFolder(finished).write_manifest(content)
    assert rnnlab(*SETTING) == 0
    said = capfd.readouterr().err
    assert "manifest.json: is not what a run writes (files." in said
    assert said.replace("\n", "").isprintable()


def test_the_comments_of_a_configuration_are_vouched_for_too(in_tmp_path, capsys):
    assert rnnlab() == 0
    path = only_run() / "config.yaml"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"resolved", b"resOlved", 1))
    assert rnnlab() == 0
    assert "config.yaml: does not match its checksum" in capsys.readouterr().err
    assert path.read_bytes() == whole
