"""Machines, file systems and systems that differ from the common one: right, or refused in one message."""

import errno
import fcntl
import importlib
import os
import signal
import stat
import subprocess
import sys

import pytest
from helpers import TINY, canonical_files, only_run, rnnlab

from rnnlab import processors
from rnnlab.memory import available
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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_told_with_the_way_out(number, in_tmp_path, monkeypatch, capfd):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert rnnlab(*TINY, "engine=autograd") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "this file system has no locks" in line
    assert "a local disk" in line


WITHOUT_FORK = "import os; del os.register_at_fork; import rnnlab.interruption"


def test_what_only_posix_has_is_done_without_elsewhere(monkeypatch):
    """Windows, as far as it can be played: the modules load, and the memory of the machine is not known."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "resource", None)
        patch.setitem(sys.modules, "fcntl", None)
        absent = ((os, "sysconf"), (os, "sched_getaffinity"), (os, "register_at_fork"), (signal, "pthread_sigmask"))
        for module, name in absent:
            patch.delattr(module, name)
        alone = importlib.reload(available)
        assert subprocess.run([sys.executable, "-c", WITHOUT_FORK], check=False).returncode == 0
        assert alone.available("cpu").left > 2**60
        assert processors.cores() >= 1
    importlib.reload(available)
