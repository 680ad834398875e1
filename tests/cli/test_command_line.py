"""Wrong input: exit status 2, one message with key, value and what is allowed, nothing written."""

import os
import subprocess
import sys

import pytest
from helpers import TINY, forked, rnnlab
from processes import finish
from support import options

from rnnlab.cli import run_command_line
from rnnlab.example import show

WRONG = {
    "group option": (
        ["cell=lstmm"],
        [f"cell=lstmm: no such option. Did you mean 'lstm'? Allowed: {', '.join(options('cell')[:6])}, "],
    ),
    "option of a shared group": (
        ["initialiser@input_initialiser=foo"],
        ["initialiser@input_initialiser=foo", "xavier"],
    ),
    "group without option": (["cell=null"], ["cell=null", "cell=OPTION"]),
    "interpolation": (["task.length=${foo}"], ["foo", "no such key"]),
    "one unit in a population": (["cell.hidden=1", "seeds=2"], ["cell.hidden=1", "one by one"]),
    "experiment": (["+experiment=nothing"], ["+experiment=nothing", "adding"]),
    "experiment without plus": (["experiment=smoke"], ["+experiment="]),
    "negative steps": (["steps=-1"], ["steps=-1", "greater than or equal to 1"]),
    "length zero": (["task.length=0"], ["task.length=0", "greater than or equal to 1"]),
    "clip at zero": (["clipping.max_norm=0"], ["clipping.max_norm=0", "greater than 0"]),
    "text for a number": (["optimiser.lr=fast"], ["optimiser.lr=fast", "number"]),
    "unknown key": (["cell.hiden=3"], ["cell.hiden=3", "hidden", "Did you mean"]),
    "unknown key, added": (["+cell.hiden=3"], ["cell.hiden=3", "hidden"]),
    "unknown top key": (["stepz=3"], ["stepz=3", "steps"]),
    "key of another option": (["cell=rnn", "cell.forget_bias=1"], ["cell.forget_bias=1", "hidden"]),
    "unknown section key": (["log.evry=1"], ["log.evry=1", "every"]),
    "device": (["device=tpu"], ["device=tpu", "'cuda'"]),
    "no cuda": (["device=cuda"], ["device=cuda", "CUDA", "cpu"]),
    "engine": (["engine=quantum"], ["engine=quantum", "fused"]),
    "same seed twice": (["seeds=[1,1]"], ["seeds=[1, 1]", "different"]),
    "name with a slash": (["name=a/b"], ["name=a/b"]),
    "rule that would cut nothing": (["adjoint=truncate", "adjoint.every=7"], ["adjoint.every=7", "cut nothing"]),
    "identity on input weights": (["initialiser@input_initialiser=identity"], ["input_initialiser", "square"]),
    "warm-up too long": (["schedule=warmup_cosine", "schedule.warmup=99"], ["schedule.warmup=99", "steps=12"]),
    "foreign target": (["cell._target_=os.system"], ["os.system", "rnnlab"]),
    "data file": (["task=smnist", "task.source=./nowhere", "~task.length"], ["task.source=./nowhere", "digits"]),
    "grammar": (["steps"], ["steps"]),
    "too few parameters": (["match_parameters=3"], ["match_parameters=3", "cell.hidden=1", "18 parameters"]),
    "group key as scalar": (["input_initialiser=xavier"], ["initialiser@input_initialiser="]),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input(arguments, words, in_tmp_path, capfd):
    import torch

    if arguments == ["device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    if "task=smnist" in arguments:  # its keys differ from the tiny defaults'
        from rnnlab.cli import run_command_line

        status = run_command_line([a for a in arguments if a != "~task.length"])
    else:
        status = rnnlab(*arguments)
    captured = capfd.readouterr()
    assert status == 2
    for word in words:
        assert word in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err
    assert list(in_tmp_path.iterdir()) == []


def test_help_and_configuration_errors_import_no_torch(tmp_path):
    code = (
        "import sys; from rnnlab.cli import run_command_line\n"
        "status = run_command_line(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "sys.exit(status)"
    )
    for arguments, status in ((["--help"], 0), (["--cfg", "job"], 0), (["steps=-1"], 2), (["cell=lstmm"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_lists_groups_and_keys(in_tmp_path, capfd):
    assert rnnlab("--help") == 0
    shown = capfd.readouterr().out
    for word in ("+experiment=", "cell", ", ".join(options("cell")), "activation", "modrelu", "seeds", "task.length"):
        assert word in shown


def test_output_that_is_no_terminal_is_plain_lines(tmp_path):
    process = forked(tmp_path, "+experiment=smoke", "tensorboard=false")
    output, errors = finish(process)
    assert process.returncode == 0, errors
    assert "\x1b" not in output + errors
    assert "steps to solve" in output
    assert max(len(line) for line in output.splitlines()) < 200


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_gets_a_progress_bar(columns, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    terminal = {"stdout": theirs, "stderr": theirs, "stdin": subprocess.DEVNULL}
    environment = {"TERM": "xterm", "COLUMNS": str(columns)}
    process = forked(
        tmp_path, "+experiment=smoke", "tensorboard=false", "steps=200", environment=environment, **terminal
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert "0.1667)" in text if columns == 160 else "/0.167 " in text
    assert "steps/s" in text if columns == 160 else "/s" in text
    assert "━" in text
    assert "0:00:0" in text
    assert "200/200" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_an_example_too_long_to_be_drawn_is_refused(in_tmp_path, capfd):
    assert run_command_line(["task=copy", "task.length=1e12"], show) == 2
    assert capfd.readouterr().err.startswith("rnnlab: task.length=1000000000000: not allowed.")


def test_an_example_is_drawn_as_text(in_tmp_path, capfd):
    assert run_command_line(["task=copy", "task.length=3", "task.symbols=2", "seeds=[4]"], show) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[0] == "copy: 7 steps, 10 inputs, 9 outputs, 7 scored"
    assert shown[2].startswith("input   ")
    assert shown[2].count("!") == 1
    assert shown[2][8:10] == shown[3][-2:]
    assert list(in_tmp_path.iterdir()) == []


def test_a_component_of_the_users_own(in_tmp_path, capfd, monkeypatch):
    """A package in the current folder, a configuration folder beside it, and no edit to rnnlab."""
    (in_tmp_path / "mine").mkdir()
    (in_tmp_path / "mine" / "__init__.py").touch()
    (in_tmp_path / "mine" / "sign.py").write_text(
        "from rnnlab.contract import Positive, component\n\n"
        "@component\nclass SignClipping:\n    scale: Positive\n\n"
        "    def __call__(self, step):\n"
        "        for gradient in step.gradients.values():\n            gradient.sign_().mul_(self.scale)\n"
        "        return step.norm_R > 0\n"
    )
    (in_tmp_path / "conf" / "clipping").mkdir(parents=True)
    (in_tmp_path / "conf" / "clipping" / "sign.yaml").write_text("_target_: mine.sign.SignClipping\nscale: 0.01\n")
    monkeypatch.syspath_prepend(str(in_tmp_path))
    options = ["--config-dir", "conf", *TINY, "components=[rnnlab,mine]", "clipping=sign"]
    assert run_command_line(options) == 0
    capfd.readouterr()
    assert run_command_line([*options, "clipping.scale=-1"]) == 2
    assert "clipping.scale=-1" in capfd.readouterr().err
    assert run_command_line([*options, "clipping.scal=1"]) == 2
    assert "clipping has: scale" in capfd.readouterr().err


def test_the_run_goes_on_when_nobody_reads_its_output(tmp_path):
    process = forked(tmp_path, *TINY)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, errors
    assert list(tmp_path.glob("runs/default/*/summary.json"))


def test_too_large_a_net_is_no_bug(in_tmp_path, capfd):
    """More than any machine addresses."""
    assert rnnlab("cell.hidden=100_000_000") == 2
    told = capfd.readouterr().err
    assert told.startswith("rnnlab: cell.hidden=100000000: not allowed here. ")
    assert told.count("\n") == 1
    assert list(in_tmp_path.iterdir()) == []


def test_version(capfd):
    assert run_command_line(["--version"]) == 0
    assert capfd.readouterr().out.startswith("rnnlab ")
