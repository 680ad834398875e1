"""A builder that is killed leaves no process and no file; Ctrl-C reaches the compiler at the second time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_place import LOAD, NEEDS_A_COMPILER, Place
from processes import finish, wait_until

pytestmark = [
    NEEDS_A_COMPILER,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="it looks for processes in /proc"),
]

SLOW = """
echo $$ > {folder}/compiling
sleep 600 &
child=$!
while [ ! -e {folder}/go ]; do
    date > "$TMPDIR/$(date +%N).s"
    sleep 0.01
done
kill $child
"""
"""A compiler with a child and temporary files, which goes on when there is a file `go`."""

TWO = "import signal\n"
TWO += "def twice(*_):\n    signal.signal(signal.SIGINT, signal.default_int_handler)\n    print('once', flush=True)\n"
TWO += f"signal.signal(signal.SIGINT, twice)\n{LOAD}"
"""As a run does: a first Ctrl-C only asks, a second one ends."""


@pytest.fixture
def slow(place, monkeypatch):
    """A place with that compiler; its processes are known by a variable that they inherit."""
    place.compiler(SLOW.format(folder=place.folder))
    monkeypatch.setenv("RNNLAB_TEST_PLACE", str(place.folder))
    yield place
    for process in processes(place):
        os.kill(process, signal.SIGKILL)


def processes(place: Place) -> list[int]:
    """Those that were started here and are not dead."""
    mark = f"RNNLAB_TEST_PLACE={place.folder}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):  # a dead one's is empty
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def start(place: Place, script: str = LOAD) -> "subprocess.Popen[str]":
    """A builder in a group of its own, with the compiler at work."""
    (place.folder / "compiling").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(place.source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: (place.folder / "compiling").exists() and list(place.cache.glob(".kernel-*/*.s")))
    return process


def nothing_left(place: Place) -> bool:
    return not processes(place) and [path.name for path in place.cache.iterdir()] == ["kernel.lock"]


def test_killed_builders_leave_no_process_and_no_file(slow):
    for _ in range(5):
        builder = start(slow)
        assert len(processes(slow)) >= 4  # builder, watcher, compiler and its child
        builder.kill()
        finish(builder)
        wait_until(lambda: nothing_left(slow), lambda: f"{processes(slow)} {list(slow.cache.rglob('*'))}")
    slow.compiler("")
    assert slow.load().answer() == 42
    assert slow.builds == 6


def test_a_private_builder_leaves_nothing_either(slow, monkeypatch):
    (slow.folder / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(slow.folder / "temporary"))
    monkeypatch.setenv("RNNLAB_CACHE", "/dev/null/cache")
    slow.cache = slow.folder / "temporary"
    builder = start(slow)
    builder.kill()
    finish(builder)
    wait_until(lambda: not processes(slow) and not list(slow.cache.iterdir()))


def test_what_is_left_when_the_watcher_is_killed_too_the_next_builder_removes(slow):
    builder = start(slow)
    os.kill(builder.pid, signal.SIGSTOP)  # so that it does not clean up itself
    os.killpg(int((slow.folder / "compiling").read_text()), signal.SIGKILL)
    builder.kill()
    finish(builder)
    wait_until(lambda: not processes(slow))
    assert len(list(slow.cache.glob(".kernel-*.tmp/*.s"))) > 0
    slow.compiler("")
    assert slow.load().answer() == 42
    assert not list(slow.cache.glob(".kernel-*"))


def test_when_a_builder_is_killed_one_that_waits_builds(slow):
    first = start(slow)
    second = slow.start()
    waiting = second.stdout.readline()  # type: ignore[union-attr]
    assert "Waiting for another process" in waiting
    slow.compiler("")
    first.kill()
    finish(first)
    assert finish(second)[0].endswith("42\n")
    wait_until(lambda: not list(slow.cache.glob(".kernel-*")))
    assert slow.builds == 2


def test_a_first_ctrl_c_does_not_reach_the_compiler(slow):
    builder = start(slow, TWO)
    os.killpg(builder.pid, signal.SIGINT)
    assert any(line == "once\n" for line in builder.stdout)  # type: ignore[union-attr]
    (slow.folder / "go").touch()
    assert finish(builder)[0].endswith("42\n")
    assert slow.builds == 1
    assert not processes(slow)


def test_a_second_ctrl_c_ends_it_and_leaves_nothing(slow):
    builder = start(slow, TWO)
    os.killpg(builder.pid, signal.SIGINT)
    assert any(line == "once\n" for line in builder.stdout)  # type: ignore[union-attr]
    os.killpg(builder.pid, signal.SIGINT)
    finish(builder)
    assert builder.returncode != 0
    wait_until(lambda: nothing_left(slow))


def test_a_build_that_ends_leaves_no_process(slow):
    (slow.folder / "go").touch()
    assert finish(slow.start())[0].endswith("42\n")
    wait_until(lambda: not processes(slow))
