"""A stored configuration is plain data with a configuration's keys, or it is refused by what it has beside that."""

import os
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from support import composed

from rnnlab.contract import ConfigError, check_value
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.identity import configuration_hash, hash_of_stored
from rnnlab.runs.stored_config import DEPTH, LIMIT, is_as_written, parse_config, read_config
from rnnlab.schema import validate

PATH = Path("RUN/config.yaml")
REFUSED = {
    "defaults": ("defaults: [/hydra/launcher: evil]", "defaults is no key"),
    "hydra": ("hydra: {callbacks: {x: {_target_: os.mkdir}}}", "hydra is no key"),
    "components": ("components: [rnnlab, os]", "components is not allowed in a file. Give it on the command line"),
    "unknown": ("stepz: 3", "stepz is no key"),
    "environment": ("name: ${oc.env:HOME}", "name=${oc.env:HOME} refers"),
    "another key": ("steps: ${seeds}", "steps=${seeds} refers"),
    "escaped": ("name: '\\${x}'", "refers"),
    "deep": ("probes: {a: {b: [1, {c: 'x${now:%Y}'}]}}", "probes.a.b.c=x${now:%Y} refers"),
    "in a key": ("cell: {'${x}': 2}", "refers"),
    "anchor": ("seeds: &a [1]", "anchor"),
    "alias": ("a: &a [*a]", "anchor"),
    "merge": ("a: &a {b: 1}\nc: {<<: *a}", "anchor"),
    "object": ("steps: !!python/object/apply:os.mkdir [pwned]", "has a tag (tag:yaml.org,2002:python/object"),
    "name of an object": ("steps: !!python/name:os.system", "has a tag"),
    "tag": ("steps: !!binary aGVsbG8=", "has a tag"),
    "tag of a plain value": ('steps: !!int "25"', "has a tag"),
    "tag of a mapping": ("cell: !!map {a: 1}", "has a tag"),
    "tag of a list": ("seeds: !!seq [1]", "has a tag"),
    "tag of a key": ("!!str steps: 1", "has a tag"),
    "tag of no kind": ("steps: ! 25", "has a tag"),
    "set": ("cell: !!set {a, b}", "has a tag"),
    "a key twice": ("steps: 1\nseeds: [1]\nsteps: 2", "steps is there 2 times"),
    "a key of a group twice": ("cell: {hidden: 1, hidden: 1}", "hidden is there 2 times"),
    "number for a key": ("cell: {1: 2}", "a key is no text"),
    "list for a key": ("cell: {? [1] : 2}", "a key is no text"),
    "two documents": ("steps: 1\n---\nsteps: 2", "cannot be read"),
    "list": ("[1, 2]", "holds no mapping"),
    "nothing": ("", "holds no mapping"),
    "control characters": ("name: \x1b[2J", "cannot be read"),
    "deeply nested lists": ("[" * 100_000, f"more than {DEPTH} deep"),
    "deeply nested mappings": ("{" * 100_000, f"more than {DEPTH} deep"),
    "an enormous number": (f"steps: {'9' * 10_000}", "cannot be read"),
    "a number that no float holds": (f"optimiser: {{lr: {10**400}}}", "is larger than any number that a key has"),
    "a number below": (f"milestones: [1, -{2**63}]", "milestones=-9223372036854775808 is larger"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_more_than_plain_data_is_refused_by_name(text, words, in_tmp_path) -> None:
    with pytest.raises(DamagedError) as caught:
        parse_config(PATH, text.encode())
    assert str(caught.value).startswith("RUN/config.yaml: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert list(in_tmp_path.iterdir()) == []


def test_what_a_run_stores_is_read_as_it_was() -> None:
    for overrides in ((), ("probes=full", "seeds=[3,4]", "optimiser.lr=1e-7", "milestones=[1e20]", "task.shortest=3")):
        config = validate(composed(*overrides))
        text = OmegaConf.to_yaml(config.resolved())
        stored = parse_config(PATH, text.encode())
        assert validate(stored) == config
        made_on = {"device": "cpu", "engine": "fused"}
        assert hash_of_stored(stored, **made_on) == configuration_hash(config, **made_on)


def test_a_text_that_is_accepted_comes_back_as_it_was() -> None:
    refused = []
    for text in [f"a{chr(c)}" for c in (*range(1, 0x300), 0x2028, 0xD800, 0xDCFF, 0xFEFF, 0xFFFF, 0x1F600)] + ["a${b}"]:
        try:
            check_value("key", text, str)
        except ConfigError:
            refused.append(text)
        else:
            assert parse_config(PATH, OmegaConf.to_yaml({"name": text}).encode()) == {"name": text}
    assert refused == ["a\x85", "a\ud800", "a\udcff", "a${b}"]


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1.e-3", ".001", "+1e-3", "0.001"])
def test_numbers_are_as_omegaconf_reads_them(written) -> None:
    (lr,) = parse_config(PATH, f"optimiser: {{lr: {written}}}".encode())["optimiser"].values()
    assert lr == OmegaConf.create(f"lr: {written}").lr == 0.001


@pytest.mark.parametrize("text", ["2020-01-01", "1:30", "0x10", "1_000", "=", "<<"])
def test_what_only_old_yaml_takes_for_something_else_is_text(text) -> None:
    assert parse_config(PATH, f"name: {text}".encode()) == {"name": text}


def test_other_files_are_not_read(tmp_path) -> None:
    """A link, a FIFO, a device, a folder, and what is larger than any configuration."""
    made = {name: tmp_path / f"{name}.yaml" for name in ("link", "fifo", "folder", "large", "missing")}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump({"steps": 3}))
    assert read_config(tmp_path / "real.yaml", pytest.fail) == {"steps": 3}
    made["link"].symlink_to("real.yaml")
    os.mkfifo(made["fifo"])
    made["folder"].mkdir()
    with made["large"].open("wb") as file:
        file.truncate(LIMIT + 1)
    for path in (*made.values(), Path("/dev/zero")):
        with pytest.raises(DamagedError, match=rf"^{path}: "):
            read_config(path, pytest.fail)


def test_a_change_by_hand_is_allowed_and_said(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    RunFolder(tmp_path).write_config(validate(composed()).resolved())
    stored, said = read_config(path, pytest.fail), []
    path.write_text(path.read_text().replace("steps: ", "steps: 1"))
    assert read_config(path, said.append)["steps"] == int(f"1{stored['steps']}")
    assert said == [f"{path} was changed since the run wrote it, and is taken as it is now."]


def test_a_checksum_is_of_all_keys(tmp_path) -> None:
    """None is added above it, and no comment is another."""
    RunFolder(tmp_path).write_config({"steps": 3})
    content = (tmp_path / "config.yaml").read_bytes()
    assert is_as_written(content)
    for changed in (
        b"name: x\n" + content,
        b"# a comment\n" + content,
        content + b"name: x\n",
        content.replace(b"3", b"4"),
        b"steps: 3\n",
    ):
        assert not is_as_written(changed)
