"""A stranger's run folder at every entrance: report, diagnosis, running it again, going on with it.

Each attack would make a file or folder `pwned`, write into `victim`, or show the variable SECRET. `done` looks for it.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import TINY, only_run, rnnlab, seal
from processes import PATIENCE

from rnnlab.cli import run_command_line
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.report.__main__ import main as report
from rnnlab.sweep.work import last_lines

RUN = "_target_: rnnlab.bptt.fused.compiler._run\n  command: [touch, pwned]\n  timeout: 5"
TARGETS = [RUN, "_target_: os.mkdir\n  path: pwned", "_target_: subprocess.getoutput\n  cmd: touch pwned"]
CONFIGS = {
    "defaults": "defaults: [{override hydra/launcher: basic}]",
    "callbacks": "hydra:\n  callbacks:\n    evil: {_target_: os.mkdir, path: pwned}",
    "job_logging": "hydra:\n  job_logging: {version: 1, handlers: {evil: {(): os.mkdir, path: pwned}}}",
    "launcher": "hydra:\n  mode: MULTIRUN\n  launcher: {_target_: os.mkdir, path: pwned}",
    "sweeper": "hydra:\n  mode: MULTIRUN\n  sweeper: {_target_: os.mkdir, path: pwned}",
    "searchpath": "hydra:\n  searchpath: [file:///tmp]",
    "variable": "device: ${oc.env:SECRET}",
    "resolver": "device: ${oc.decode:'${oc.env:SECRET}'}",
    "components": "components: [rnnlab, os, subprocess, pathlib]",
    "tag": "device: !!python/object/apply:os.mkdir [pwned]",
    "bomb": "device: &a [x, x]\nseeds: [*a, *a]",
}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert rnnlab("engine=autograd") == 0
        return only_run().resolve()


@pytest.fixture
def run(trained_once, in_tmp_path, monkeypatch):
    """A copy, `stranger`, in an empty current folder."""
    shutil.copytree(trained_once, "stranger")
    Path("victim").write_text("mine")
    monkeypatch.setenv("SECRET", "hunter2")
    return Path("stranger").resolve()


@pytest.fixture
def done(run, capfd):
    """Whether an attack has succeeded, asked after it."""

    def ask() -> bool:
        told = capfd.readouterr()
        files = [p for p in Path().rglob("*") if p.is_file() and not p.is_symlink() and p.suffix not in (".pt", ".png")]
        shown = told.out + told.err + "".join(path.read_text(errors="replace") for path in files)
        return "hunter2" in shown or any(Path().rglob("pwned")) or Path("victim").read_text() != "mine"

    return ask


def change(run: Path, text: str) -> None:
    """Add top-level keys to config.yaml, in place of those that it has, under the checksum of what it is then."""
    config = (run / "config.yaml").read_text()
    ours = {line.split(":")[0] for line in text.splitlines() if not line.startswith(" ")}
    kept, keep = [], True
    for line in config.splitlines():
        if line[0] not in " -":
            keep = line.split(":")[0] not in ours
        kept += [line] if keep else []
    (run / "config.yaml").write_text("\n".join([*kept, text, ""]))
    seal(run)


def again(run: Path, *more: str) -> int:
    return run_command_line([f"--config-path={run}", "--config-name=config", "name=again", *more])


def enter(entrance: str, run: Path) -> int:
    """The exit status of one way to do something with a run folder."""
    arguments = {
        "equals": [f"--config-path={run}", "--config-name=config"],
        "short": ["-cp", str(run), "-cn", "config"],
        "abbreviated": [f"--config-p={run}", "--config-n=config.yaml"],
        "relative": ["--config-path", "stranger", "--config-name", "config"],
        "twice": ["--config-path=.", f"--config-path={run}"],
        "swept": ["-m", f"--config-path={run}", "hydra/launcher=basic"],
        "shown": [f"--config-path={run}", "--cfg", "all", "--resolve"],
        "asked about": [f"--config-path={run}", "--info", "config"],
    }
    if entrance == "diagnose":
        return diagnose([str(run), "--examples", "2"])
    return report([str(run)]) if entrance == "report" else run_command_line([*arguments[entrance], "name=again"])


RERUNS = ["equals", "short", "abbreviated", "relative", "twice", "swept", "shown", "asked about"]


@pytest.mark.parametrize("entrance", ["report", "diagnose", *RERUNS])
@pytest.mark.parametrize("attack", CONFIGS)
def test_a_stored_configuration_is_plain_data(attack, entrance, run, done) -> None:
    change(run, CONFIGS[attack])
    assert enter(entrance, run) != 0
    assert not done()
    assert not Path("runs").exists()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("group", ["clipping", "activation", "probes"])
@pytest.mark.parametrize("entrance", ["diagnose", "equals", "swept"])
def test_a_stored_target_is_a_component_of_its_group(entrance, group, target, run, done) -> None:
    target = target if group != "probes" else "evil:\n    " + target.replace("\n", "\n  ")
    change(run, f"{group}:\n  {target}")
    assert enter(entrance, run) == 2
    assert not done()


def test_the_report_makes_nothing_of_a_target(run, done) -> None:
    change(run, f"clipping:\n  {RUN}")
    assert enter("report", run) == 0
    assert not done()


ESCAPES = '"\\e]0;owned\\a\\e[2J\\x9b2J"'


@pytest.mark.parametrize("text", [f"device: {ESCAPES}", f"clipping: {{_target_: {ESCAPES}}}", f"dtype: {ESCAPES}"])
@pytest.mark.parametrize("entrance", ["report", "diagnose", "equals"])
def test_a_terminal_gets_text_alone(entrance, text, run, capfd) -> None:
    change(run, text)
    (run / "output.log").write_bytes(b"\x1b]0;owned\x07\x9b2J\n")
    assert enter(entrance, run) == (0 if entrance == "report" else 2)
    shown = "".join(capfd.readouterr()) + "".join(last_lines(run, 3))
    shown += "".join(path.read_text() for path in Path("report").glob("*.md"))
    shown += "".join(path.read_text() for path in Path("report").glob("*.csv"))
    assert "owned" in shown
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)


@pytest.mark.parametrize("entrance", ["equals", "short", "relative"])
def test_an_honest_folder_is_run_again_however_it_is_named(entrance, run) -> None:
    assert enter(entrance, run) == 0
    assert (only_run("again") / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()


def test_its_keys_can_be_changed_and_swept_but_it_has_no_groups(run, capfd) -> None:
    assert again(run, "steps=3", "cell.hidden=5") == 0
    config = yaml.safe_load((only_run("again") / "config.yaml").read_text())
    assert (config["steps"], config["cell"]["hidden"]) == (3, 5)
    shutil.rmtree("runs")
    arguments = [f"--config-path={run}", "name=again", "optimiser.lr=0.1,0.2", "steps=3", "hydra.launcher.jobs=1"]
    assert run_command_line(["-m", *arguments]) == 0
    assert len(list(Path("runs/again").iterdir())) == 2
    capfd.readouterr()
    for choice in ("cell=gru", "+experiment=smoke", "initialiser@input_initialiser=uniform", "+probe@probes.x=gates"):
        assert again(run, choice) == 2
        assert f"{choice}: not allowed. The configuration of a run has no groups" in capfd.readouterr().err


@pytest.mark.parametrize("given", ["--experimental-rerun=evil", "--experimental", "--exp"])
def test_no_pickle_is_run_again(given, run, done) -> None:
    Path("evil").write_bytes(pickle.dumps(Evil()))
    assert run_command_line([given] if "=" in given else [given, "evil"]) == 2
    assert not done()


class Evil:
    """Unpickling it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_neither_a_checkpoint_nor_an_array_is_unpickled(run, done, monkeypatch) -> None:
    """With the name that its checksum gives it, and newer than all others."""
    content = pickle.dumps({"population": Evil()}, protocol=2)
    for old in (run / "checkpoint").iterdir():
        old.unlink()
    (run / "checkpoint" / f"step-00000099-{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)
    np.savez(run / "adjoints.npz", norm=np.array([Evil()], dtype=object), allow_pickle=True)
    assert diagnose([str(run), "--examples", "2"]) == 1
    report([str(run)])
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    shutil.copytree(run, Path("runs/default") / run_id(manifest))
    rnnlab("engine=autograd")  # goes on with it, or refuses to
    assert not done()


def run_id(manifest) -> str:
    return manifest["run_id"]


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", ".lock", "output.log", ".config.yaml.tmp", "checkpoint", "diagnosis/diagnosis.md"]
)
def test_nothing_is_written_through_a_planted_link(name, run, trained_once, done) -> None:
    """By going on with the run, diagnosing it, or asking whether it is at work."""
    ours = Path("runs/default") / trained_once.name
    shutil.copytree(run, ours)
    manifest = json.loads((ours / "manifest.json").read_text())
    (ours / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    path = ours / name
    if path.is_dir():
        shutil.rmtree(path)
        Path("elsewhere").mkdir()
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(Path("elsewhere" if name == "checkpoint" else "victim").resolve())
    assert rnnlab("engine=autograd") == 1
    assert rnnlab("engine=autograd", "force=true") == 1
    assert diagnose([str(ours)]) == 1
    report([str(ours)])
    assert not done()
    assert not Path("elsewhere").exists() or list(Path("elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "metrics.jsonl", "adjoints.npz", "summary.json"])
@pytest.mark.parametrize("plant", ["link", "fifo"])
def test_nothing_is_read_through_a_link_or_waited_for(plant, name, run, done) -> None:
    Path("../secret").write_text("hunter2")
    (run / name).unlink()
    (run / name).symlink_to(Path("../secret").resolve()) if plant == "link" else os.mkfifo(run / name)
    assert report([str(run)]) == 1
    assert diagnose([str(run)]) == 1
    assert not done()
    Path("../secret").unlink()


@pytest.mark.parametrize("name", ["report", "report/figures", "report/.index.html.tmp", "report/index.html"])
def test_a_report_is_not_written_through_a_planted_link(name, run, done) -> None:
    """In a stranger's folder, `report` may be one too."""
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    folder = name in ("report", "report/figures")
    if folder:
        Path("elsewhere").mkdir()
    path.symlink_to(Path("elsewhere" if folder else "victim").resolve())
    assert report([str(run)]) == (2 if folder else 0)
    assert not done()
    assert not folder or list(Path("elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["clipping._target_=rnnlab.bptt.fused.compiler._run", "~clipping.max_norm", "+clipping.command=[touch,pwned]"],
        ["clipping._target_=subprocess.getoutput", "~clipping.max_norm", "+clipping.cmd=touch pwned"],
        ["clipping._target_=subprocess.getoutput", "+clipping.cmd=touch pwned", "components=[rnnlab,subprocess]"],
        ["+probes.evil={_target_: os.mkdir, path: pwned}"],
    ],
)
def test_a_target_on_the_command_line_is_a_component_too(overrides, run, done) -> None:
    assert run_command_line([*TINY, *overrides]) == 2
    assert not done()
    assert not Path("runs").exists()


def test_a_sweep_s_targets_and_folders_are_checked_by_its_workers(run, trained_once, done) -> None:
    """One job with a target that is none, one whose folder has a planted link."""
    ours = Path("runs/default") / trained_once.name
    ours.mkdir(parents=True)
    (ours / "metrics.jsonl").symlink_to(Path("victim").resolve())
    targets = "rnnlab.clipping.norm.NormClipping,rnnlab.bptt.fused.compiler._run"
    sweep = ["-m", *TINY, "engine=autograd", f"clipping._target_={targets}", "hydra.launcher.jobs=1"]
    assert run_command_line(sweep) == 1
    assert not done()


SHADOWS = ["argparse", "hydra", "json", "multiprocessing", "numpy", "omegaconf", "pydantic", "sklearn", "torch", "yaml"]


@pytest.mark.parametrize(
    "command",
    [
        ["rnnlab", "-m", "steps=1", "seeds=1,2", "tensorboard=false", "hydra.launcher.jobs=1", "task.length=5"],
        ["rnnlab.example", "task=nothing"],
        ["rnnlab.report", "."],
        ["rnnlab.diagnose", ".", "--examples", "2"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_no_module_of_the_current_folder_is_taken_for_an_installed_one(command, run) -> None:
    for name in SHADOWS:
        (run / f"{name}.py").write_text(f"open('pwned-{name}', 'w')\nraise ImportError('shadowed')\n")
    (run / "hydra_plugins" / "evil").mkdir(parents=True)
    (run / "hydra_plugins" / "evil" / "__init__.py").write_text("open('pwned-plugin', 'w')\n")
    done = subprocess.run([sys.executable, "-m", *command], cwd=run, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == (2 if "task=nothing" in command else 0), done.stderr
    assert [path.name for path in run.rglob("pwned*")] == []
