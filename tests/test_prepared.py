"""A forked process is to a test what a fresh one is: the same surroundings, signals and endings, and nobody's state."""

import json
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import popen_spawn_posix
from pathlib import Path

import prepared
import pytest
from helpers import forked, start
from processes import finish, wait_until

from rnnlab.sweep.local_pool import LocalPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all processes are fresh")

SURROUNDINGS = """
import json, os, random, signal, sys
os.umask(mask := os.umask(0))
streams = (sys.stdin, sys.stdout, sys.stderr)
told = {
    "arguments": sys.argv,
    "path": sys.path,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "mask of files": mask,
    "parent": os.getppid(),
    "group": [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()],
    "signals": {number: str(signal.getsignal(number)) for number in sorted(signal.valid_signals())},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "files": sorted(set(os.listdir("/proc/self/fd")) - {str(max(map(int, os.listdir("/proc/self/fd"))))}),
    "threads": len(os.listdir("/proc/self/task")),
    "streams": [[s.fileno(), s.encoding, s.errors, s.line_buffering, s.isatty(), s.name] for s in streams],
    "streams are kept": streams == (sys.__stdin__, sys.__stdout__, sys.__stderr__),
    "name": __name__,
    "module": getattr(globals().get("__spec__"), "name", None),
    "names": sorted(name for name in globals() if not name.startswith("_")),
    "main": sys.modules["__main__"].__dict__ is globals(),
    "read": sys.stdin.read(),
}
print("an error", file=sys.stderr)
sys.exit(print(json.dumps(told)) or 3)
"""


@pytest.fixture(params=[("-c", SURROUNDINGS), ("-m", "surroundings")], ids=["-c", "-m"])
def both(request, in_tmp_path):
    """What a fresh process and a forked one are found to be."""
    (in_tmp_path / "surroundings.py").write_text(SURROUNDINGS)
    (in_tmp_path / "below").mkdir()

    def ask(**options):
        found = []
        for begin in (start, forked):
            with open("input", "w+") as file:
                file.write("from the caller\n")
                file.seek(0)
                process = begin(in_tmp_path, "an argument", "-x", program=request.param, stdin=file, **options)
            output, errors = finish(process)
            assert isinstance(process, prepared.Forked) == (begin is forked)
            assert process.returncode == 3, errors
            found.append((json.loads(output), errors))
        return found

    return ask


def test_it_is_where_a_fresh_one_is(both):
    fresh, child = both(environment={"COLUMNS": "7"})
    assert child == fresh
    assert child[0]["parent"] == os.getpid()
    assert child[0]["environment"]["COLUMNS"] == "7"


def test_it_may_lead_a_session_and_is_deaf_where_its_parent_is(both):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        fresh, child = both(start_new_session=True)
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.pthread_sigmask(signal.SIG_SETMASK, before[1])
    assert child == fresh
    assert child[0]["group"] == [True, True]
    assert child[0]["signals"][str(int(signal.SIGHUP))] == str(signal.SIG_IGN)
    assert child[0]["blocked"] == [signal.SIGUSR1]


def test_its_streams_are_a_terminal_s_where_it_has_one(in_tmp_path):
    import pty

    code = "import sys; print(*((s.isatty(), s.line_buffering, s.write_through) for s in (sys.stdout, sys.stderr)))"
    told = []
    for begin in (start, forked):
        ours, theirs = pty.openpty()
        terminal = {"stdout": theirs, "stderr": theirs, "stdin": theirs, "environment": {"PYTHONUNBUFFERED": ""}}
        process = begin(in_tmp_path, program=("-c", code), **terminal)
        assert process.wait() == 0
        told.append(os.read(ours, 4096))
        for number in (ours, theirs):
            os.close(number)
    assert told[0] == told[1]
    assert b"(True, True, False)" in told[0]


ENDINGS = {
    "of itself": ("print('x', end='')", 0),
    "with a status": ("import sys; sys.exit(130)", 130),
    "with a large one": ("import sys; sys.exit(258)", 2),
    "with nothing": ("import sys; sys.exit()", 0),
    "with a message": ("import sys; sys.exit('told')", 1),
    "with an error": ("1 / 0", 1),
    "with a Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT),
    "at once": ("import os; os._exit(9)", 9),
    "in a thread": ("import threading; threading.Timer(0.1, print, ('late',)).start()", 0),
    "with something left to do": ("import atexit; atexit.register(print, 'at last')", 0),
    "by a signal": ("import os; os.kill(os.getpid(), 11)", -11),
}


@pytest.mark.parametrize(("code", "status"), ENDINGS.values(), ids=ENDINGS.keys())
def test_it_ends_as_a_fresh_one_does(code, status, in_tmp_path):
    fresh, child = (begin(in_tmp_path, program=("-c", code)) for begin in (start, forked))
    expected, (output, errors) = finish(fresh), finish(child)
    assert (child.returncode, output) == (fresh.returncode, expected[0])
    assert child.returncode == status
    assert errors.splitlines()[-1:] == expected[1].splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_it_alone(number, in_tmp_path):
    waits = ("-c", "import sys; print('here'); sys.stdin.read()")
    one, other = (forked(in_tmp_path, program=waits, stdin=subprocess.PIPE) for _ in range(2))
    for process in (one, other):
        assert process.stdout.readline() == "here\n"
    assert one.poll() is None
    one.send_signal(number)
    finish(one)
    assert one.returncode == -number
    assert other.poll() is None
    assert other.communicate("the end", timeout=60)[1] == ""
    assert other.returncode == 0


def test_two_share_no_state(in_tmp_path):
    changes = (
        "import os, sys, torch, numpy, rnnlab.cli\n"
        "print(torch.get_num_threads(), hasattr(rnnlab.cli, 'left'), 'LEFT' in os.environ, 'left' in sys.modules)\n"
        "rnnlab.cli.left = os.environ['LEFT'] = ''; sys.modules['left'] = sys; os.chdir('/'); sys.path.clear()\n"
        "torch.set_num_threads(7)\n"
    )
    told = [finish(begin(in_tmp_path, program=("-c", changes))) for begin in (forked, forked, start)]
    assert told[0] == told[1] == told[2]
    assert "False False False" in told[0][0]


def test_the_nursery_has_begun_no_thread_that_a_fork_would_lose(in_tmp_path):
    finish(forked(in_tmp_path, program=("-c", "")))  # before the first fork there are OpenBLAS's, which ends them
    children = map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
    (nursery,) = (pid for pid in children if b"prepared.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
    assert prepared.nursery() is not None
    assert len(list(Path(f"/proc/{nursery}/task").iterdir())) == 1


def test_several_threads_may_ask_at_once(in_tmp_path):
    told = {}

    def ask(number):
        process = forked(in_tmp_path, str(number), program=("-c", "import sys; print(sys.argv[1])"))
        told[number] = finish(process)[0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {number: f"{number}\n" for number in range(6)}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "HOME", "PYTHONPROFILEIMPORTTIME", "RNNLAB_CACHE", "PYTHONPATH"])
def test_where_an_import_may_read_the_environment_it_is_a_fresh_one(name, in_tmp_path):
    process = forked(in_tmp_path, program=("-c", ""), environment={name: "1"})
    finish(process)
    assert not isinstance(process, prepared.Forked)
    assert process.returncode == 0


def look():
    """Of a worker."""
    import torch

    terminal = ("LINES", "COLUMNS")  # which readline, in C, puts where os.environ does not see it
    environment = {name: value for name, value in os.environ.items() if name not in terminal}
    return os.getppid(), os.getcwd(), sys.path, environment, torch.get_num_threads(), sys.argv


def test_a_forked_worker_is_a_child_like_a_fresh_one(in_tmp_path, monkeypatch):
    def found():
        pool = LocalPool(slots=1, threads=1)
        try:
            told, pid = pool.submit(look).result(), pool.submit(os.getpid).result()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
            assert pool.submit(os.getpid).result() != pid
            return told
        finally:
            pool.close(at_once=True)

    fresh = found()
    asked, util = [], prepared.nursery().patched_util()

    def spawn(*arguments, real=util.spawnv_passfds):
        asked.append(real(*arguments))
        return asked[-1]

    util.spawnv_passfds = spawn
    monkeypatch.setattr(popen_spawn_posix, "util", util)
    assert found() == fresh
    assert fresh[0] == os.getpid()
    assert len(asked) == 2
