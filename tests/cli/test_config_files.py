"""Broken YAML in --config-dir: one short message that names the file."""

import tempfile

import pytest

from rnnlab.cli import run_command_line

HEAD = "# @package _global_\n"
BROKEN = {
    "an alias of itself": (b"a: &a [*a]\n", "mine.yaml: cannot be read: something in it contains itself"),
    "a list left open": (f"{HEAD}steps: [1\nname: x\n".encode(), "mine.yaml, line 3: cannot be read: "),
    "a key twice": (f"{HEAD}steps: 1\nsteps: 2\n".encode(), "mine.yaml, line 3: cannot be read: "),
    "another encoding": (f"{HEAD}name: ".encode() + b"caf\xe9\n", "mine.yaml: cannot be read: it is not text in UTF-8"),
    "no text": (bytes(range(256)), "mine.yaml: cannot be read: "),
    "a zero byte": (f"{HEAD}name: a\0b\n".encode(), "mine.yaml: cannot be read: "),
    "code": (b"a: !!python/object/apply:os.system [x]\n", "mine.yaml, line 1: cannot be read: "),
    "much too large": (HEAD.encode() + b"# " + b"x" * 2**20, "mine.yaml: cannot be read: 1,048,598 bytes"),
    "too large a number": (f"{HEAD}steps: {'9' * 5000}\n".encode(), "mine.yaml: cannot be read: a number in it is too"),
    "a byte order mark": (f"\ufeff{HEAD}steps: 5\n".encode(), "'# @package _global_' (and no byte order mark)"),
    "no package": (b"steps: 5\n", "The file is experiment/mine.yaml."),
    "a list": (b"- 1\n", "The file is experiment/mine.yaml."),
    "nothing": (b"", "The file is experiment/mine.yaml."),
    "a wrong value": (f"{HEAD}steps: -5\n".encode(), "steps=-5: not allowed. "),
    "a folder of Hydra's": (f"{HEAD}hydra: {{run: {{dir: X}}}}\n".encode(), "mine.yaml: hydra.run: not allowed."),
    "options as a list": (
        f"{HEAD}defaults: [override /optimiser: [adam, sgd]]\n".encode(),
        "optimiser: not allowed. A file chooses several options",
    ),
    "defaults that are no list": (
        f"{HEAD}defaults: {{cell: gru}}\n".encode(),
        "mine.yaml: cannot be read: Invalid",
    ),
    "no package, and a choice": (b"defaults: [override /cell: gru]\n", "mine.yaml: must begin with the line '# @pack"),
    "an unknown key of the sweeper": (
        f"{HEAD}hydra: {{sweeper: {{parms: 1}}}}\n".encode(),
        "mine.yaml: parms: no such key there.",
    ),
    "an arm that is a list": (
        f"{HEAD}hydra: {{mode: MULTIRUN, sweeper: {{arms: [[cell=gru]]}}}}\n".encode(),
        "hydra.sweeper.arms: ['cell=gru']: not allowed.",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_named(what, in_tmp_path, capfd):
    (content, message), folder = BROKEN[what], "c é=,'$[1]"
    (in_tmp_path / folder / "experiment").mkdir(parents=True)
    (in_tmp_path / folder / "experiment" / "mine.yaml").write_bytes(content)
    status = run_command_line(["+experiment=mine", "--config-dir", folder, "cell=gru"], lambda config: 0.0)
    error = capfd.readouterr().err
    assert status == 2
    assert message in error
    assert "mine.yaml" in error or "arms" in error or "A file" in error
    assert error.count("\n") == 1
    assert len(error) < 400 + len(str(in_tmp_path))
    assert [path.name for path in in_tmp_path.iterdir()] == [folder]


def test_a_key_of_an_option_of_ones_own_is_told_with_its_file(in_tmp_path, capfd):
    (in_tmp_path / "conf" / "cell").mkdir(parents=True)
    (in_tmp_path / "conf" / "cell" / "mine.yaml").write_text("_target_: rnnlab.cells.gru.GRU\nhidden: 3\nhiden: 4\n")
    assert run_command_line(["cell=mine", "--config-dir=conf"]) == 2
    assert "cell.hiden=4: no such key. Did you mean 'hidden'? " in (error := capfd.readouterr().err)
    assert error.endswith("It is set by cell/mine.yaml; ~cell.hiden leaves it out.\n")


@pytest.mark.parametrize("name", ["é a", "a=b,c", "it's", '"[1]#~%', "$HOME${x}"])
def test_any_folder_can_be_the_current_the_temporary_and_the_configurations(name, tmp_path, monkeypatch, capfd):
    here = tmp_path / name
    (here / "conf" / "cell").mkdir(parents=True)
    (here / "conf" / "cell" / "mine.yaml").write_text("_target_: rnnlab.cells.gru.GRU\nhidden: 3\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(here))
    seen = []
    assert run_command_line(["cell=mine,gru", "-cd", str(here / "conf"), "-m"], seen.append) == 0
    assert [config.components["cell"]["hidden"] for config in seen] == [3, 128]
    assert [path.name for path in here.iterdir()] == ["conf"]
    assert run_command_line(["cell=mine", "-cd=conf", "cell.hiden=3"]) == 2
    assert "cell.hiden=3: no such key. Did you mean 'hidden'?" in capfd.readouterr().err or "${" in name
