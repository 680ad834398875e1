"""Machines, file systems and systems that differ from the common one: right, or refused in one message."""

import errno
import fcntl
import os
import stat
import subprocess
import sys

import pytest
from helpers import TINY, canonical_files, only_run, rnnlab, start

from rnnlab import processors
from rnnlab.report.__main__ import main as report
from rnnlab.runs import folder as folders


def test_a_container_s_quota_limits_the_cores(tmp_path, monkeypatch):
    def cores(lines, **quotas):
        (tmp_path / "cgroup").write_text(lines)
        for path, text in quotas.items():
            file = tmp_path / path.replace("__", "/").replace("MAX", "cpu.max").replace("OLD", "cpu.cfs_quota_us")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        quota = processors._quotas
        with monkeypatch.context() as patch:
            patch.setattr(processors, "_quotas", lambda: quota(tmp_path, tmp_path / "cgroup"))
            patch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
            return processors.cores()

    assert cores("0::/a/b\n", a__b__MAX="max 100000\n") == 16
    assert cores("0::/a/b\n", a__MAX="250000 100000\n") == 3, "two and a half are asked for: three threads"
    assert cores("0::/a/b\n", a__b__MAX="50000 100000\n") == 1, "never none"
    assert cores("0::/elsewhere\n", MAX="400000 100000\n") == 4
    assert cores("0::/my jobs/b\n", **{"my jobs__MAX": "200000 100000\n"}) == 2, "a name may have spaces"
    assert cores("0::/gone (deleted)\nnonsense\n\n0::/\0\n") == 4
    assert cores("2:cpu,cpuacct:/x\n", cpu__x__OLD="-1\n") == 16
    assert cores("2:cpu,cpuacct:/x\n", cpu__x__OLD="200000\n") == 2


def raising(number, only=lambda descriptor: True):
    fsync = os.fsync

    def sync(descriptor):
        if only(descriptor):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    return sync


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.mark.parametrize("only", [is_folder, lambda descriptor: True])
def test_a_file_system_that_cannot_sync_costs_no_run_and_is_told_once(only, in_tmp_path, monkeypatch, capfd):
    assert rnnlab(*TINY, "name=with") == 0
    monkeypatch.setattr(os, "fsync", raising(errno.EINVAL, only))
    folders._tell_of_no_sync.cache_clear()
    capfd.readouterr()
    assert rnnlab(*TINY, "name=without") == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "cannot be asked" in line]
    assert len(said) == 1
    with_, without = (canonical_files(only_run(name)) for name in ("with", "without"))
    assert with_["metrics.jsonl"] == without["metrics.jsonl"]


def test_a_disk_that_fails_is_still_told(in_tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(os, "fsync", raising(errno.EIO))
    assert rnnlab(*TINY) == 1
    assert "Input/output error" in capfd.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_told_with_the_way_out(number, in_tmp_path, monkeypatch, capfd):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert rnnlab(*TINY, "engine=autograd") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "this file system has no locks" in line
    assert "a local disk" in line


WINDOWS = """
import os, signal, sys
import filelock, hydra, rich.live, subprocess, tensorboard, torch._dynamo  # which know their way about Windows
from multiprocessing import resource_tracker
resource_tracker._HAVE_SIGMASK = False
absent = {
    os: "O_NOFOLLOW fork geteuid getpgid getuid killpg mkfifo register_at_fork sched_getaffinity setpgid "
    "setsid statvfs sysconf",
    signal: "SIGALRM SIGHUP SIGPIPE SIGUSR1 SIGUSR2 SIGXCPU SIGXFSZ pthread_kill pthread_sigmask",
}
for module, names in absent.items():
    for name in names.split():
        if hasattr(module, name):  # macOS lacks some of them too
            delattr(module, name)
sys.modules |= dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))
from rnnlab.cli import run_command_line
sys.exit(run_command_line(sys.argv[1:]))
"""


def test_what_only_posix_has_is_done_without_elsewhere(in_tmp_path):
    """Windows, as far as it can be played: a run and a sweep without what Python lacks there."""
    assert rnnlab(*TINY, "name=here", "engine=autograd", "probe.every=1") == 0
    told = []
    for more in (["name=there"], ["name=swept", "-m", "cell=rnn,gru"]):
        process = start(in_tmp_path, *TINY, "probe.every=1", *more, program=("-c", WINDOWS))
        output, errors = process.communicate()
        assert process.returncode == 0, output + errors
        told.append(output + errors)
    assert "built on Linux and macOS alone" in told[0]
    assert (only_run("there") / "metrics.jsonl").read_bytes() == (only_run("here") / "metrics.jsonl").read_bytes()


def test_too_little_address_space_is_one_message(in_tmp_path):
    for program in (["rnnlab", *TINY], ["rnnlab", "-m", *TINY, "cell=rnn,gru"]):
        command = f"ulimit -v 400000; exec {sys.executable} -m {' '.join(program)}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "ulimit -v" in line


@pytest.mark.parametrize("kind", ["a link to elsewhere, which is not there", "no folder"])
def test_what_stands_in_the_place_of_runs_is_named(kind, in_tmp_path, capfd):
    if kind == "no folder":
        (in_tmp_path / "runs").touch()
    else:
        (in_tmp_path / "runs").symlink_to("elsewhere")
    assert rnnlab(*TINY, "engine=autograd") == 1
    assert f"cannot be made: runs is {kind}." in capfd.readouterr().err
    assert report(["runs"]) == 2
    assert f"runs is {kind}." in capfd.readouterr().err
