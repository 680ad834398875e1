"""Packages of the user's own are allowed where the user speaks: in the arguments and the environment, in no file."""

from pathlib import Path

import pytest
from helpers import TINY, only_run, read, start

from rnnlab.cli import run_command_line
from rnnlab.contract import ConfigError
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.options import take_apart
from rnnlab.packages import VARIABLE, take_packages

SIGN = """
from rnnlab.contract import Positive, component

@component
class Sign:
    scale: Positive

    def __call__(self, step):
        for gradient in step.gradients.values():
            gradient.sign_().mul_(self.scale)
        return step.norm_R > 0
"""


@pytest.fixture
def mine(in_tmp_path):
    """A package in the current folder, and configurations beside it."""
    for path, text in {
        "my_package/__init__.py": "",
        "my_package/sign.py": SIGN,
        "conf/clipping/sign.yaml": "_target_: my_package.sign.Sign\nscale: 0.01\n",
        "conf/experiment/allows.yaml": "# @package _global_\ncomponents: [my_package]\n",
        "conf/experiment/sweeps.yaml": "# @package _global_\nhydra: {sweeper: {arms: ['components=my_package']}}\n",
        "conf/experiment/params.yaml": "# @package _global_\nhydra: {sweeper: {params: {components: my_package}}}\n",
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    return in_tmp_path


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("components=[rnnlab,mine]", ["mine"]),
        ("components=mine", ["mine"]),
        ("components=mine,yours", ["mine", "yours"]),
        ("components='[rnnlab, mine]'", ["mine"]),
        ('components=["mine"]', ["mine"]),
        ("components=[]", []),
        ("components=", []),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 3, 5])
def test_they_stand_anywhere_among_the_arguments(given, names, at, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    others = ["-m", "--config-dir=components=x", "cell=rnn", "seeds=2", "+x.components=3"]
    line = take_apart([*others[:at], given, *others[at:]])
    assert take_packages(line.overrides) == (("rnnlab", *names), others[2:])
    assert take_packages(take_apart(["--config-dir", given]).overrides) == (("rnnlab",), [])
    monkeypatch.setenv(VARIABLE, "theirs, mine")
    assert set(take_packages([given])[0]) == {"rnnlab", "theirs", "mine", *names}


@pytest.mark.parametrize("given", ["a.b", "[a", "/tmp/x", "a b", "${x}", "a=b", "[[a]]", "1a", "a;b"])
def test_what_is_no_package_s_name_is_refused(given, monkeypatch) -> None:
    with pytest.raises(ConfigError, match=r"^components=.*: not allowed\. Give the names of packages"):
        take_packages([f"components={given}"])
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(ConfigError, match=rf"^{VARIABLE}=.*: not allowed"):
        take_packages([])


@pytest.mark.parametrize("more", [["+experiment=allows"], ["-m", "+experiment=sweeps"], ["-m", "+experiment=params"]])
def test_no_file_allows_them(more, mine, monkeypatch, capfd) -> None:
    monkeypatch.syspath_prepend(str(mine))
    options = [a for a in more if a.startswith("-")]
    assert run_command_line([*options, "--config-dir=conf", *more[len(options) :], *TINY, "clipping=sign"]) == 2
    assert "on the command line" in " ".join(capfd.readouterr().err.split())
    assert not Path("runs").exists()


def test_a_run_needs_the_same_word_again_to_be_diagnosed_or_run_again(mine, monkeypatch, capfd) -> None:
    monkeypatch.syspath_prepend(str(mine))
    options = ["--config-dir=conf", *TINY, "clipping=sign", "engine=autograd"]
    assert run_command_line([*options, "components=my_package"]) == 0
    run = only_run().resolve()
    assert "my_package" not in (run / "config.yaml").read_text().replace("_target_: my_package.", "")
    rerun = [f"--config-path={run}", "name=again"]
    for refused in (lambda: run_command_line(options), lambda: run_command_line(rerun), lambda: diagnose([str(run)])):
        capfd.readouterr()
        assert refused() == 2
        assert "only components from these packages are loaded: rnnlab." in capfd.readouterr().err
    assert diagnose([str(run), "--examples=2", "--components", "my_package"]) == 0
    assert run_command_line([*rerun, "components=my_package"]) == 0
    monkeypatch.setenv(VARIABLE, "my_package")
    assert run_command_line([*rerun, "name=a_third"]) == 0
    assert diagnose([str(run), "--examples=2"]) == 0
    assert only_run("a_third").name == run.name


def test_they_are_found_in_the_current_folder_by_the_workers_of_a_sweep_too(mine, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "my_package")
    process = start(mine, "-m", "--config-dir=conf", *TINY, "clipping=none,sign", "hydra.launcher.jobs=1")
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, output + errors
    assert "2 jobs: 2 finished" in output
    assert {read(p, "manifest.json")["technique"].split("-")[-2] for p in Path("runs/default").iterdir()} == {
        "orthogonal",  # of clipping=none nothing is said
        "sign",
    }
