"""What lies in a run folder is not followed elsewhere, not waited for and not swallowed whole."""

import os
import tracemalloc
from pathlib import Path

import pytest

from rnnlab.contract import RunError
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.safe_files import FILES, FOLDERS, read_regular, refuse_links, visible


def test_a_regular_file_is_read_up_to_its_limit(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(path, 4)


def test_no_more_room_is_made_than_a_file_needs(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    tracemalloc.start()
    assert read_regular(path, 2**40) == b"12345"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_nothing_else_is(tmp_path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nowhere", 9)
    for name, words in (("link", "symbolic link"), ("dangling", "symbolic link"), ("fifo", "no regular file")):
        with pytest.raises(OSError, match=words) as caught:
            read_regular(tmp_path / name, 9)
        assert caught.value.strerror
        assert caught.value.filename == str(tmp_path / name)
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            read_regular(path, 9)


WRITTEN = [*FILES, *FOLDERS, *(f".{name}.tmp" for name in FILES), "checkpoint/x.pt", "tensorboard/events/x", "probes/x"]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_where_a_run_writes_refuses_the_folder_and_leaves_what_it_points_to(name, tmp_path) -> None:
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    for plant in (lambda path: path.symlink_to(victim), lambda path: path.symlink_to(tmp_path / "new"), os.mkfifo):
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plant(path)
        with pytest.raises(RunError, match=rf"^{path}: "):
            refuse_links(run)
        with pytest.raises(RunError), RunFolder(run).locked():
            pass
        RunFolder(run).held()
        path.unlink()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_a_folder_without_links_and_one_reached_through_a_link_are_fine(tmp_path) -> None:
    refuse_links(tmp_path / "nowhere")
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "notes").symlink_to("/tmp")  # the user's own; no run writes there
    (tmp_path / "short").symlink_to("run")
    with RunFolder(tmp_path / "short").locked():
        refuse_links(tmp_path / "run")


def test_a_terminal_is_given_text_alone() -> None:
    told = visible("a\x1b]0;owned\x07b\x9b2Jc\u202ed\ud800\r\ne\tf ½")
    assert told == "a\\x1b]0;owned\\x07b\\x9b2Jc\\u202ed\\ud800\\r\ne\tf ½"
    assert visible(told) == told
