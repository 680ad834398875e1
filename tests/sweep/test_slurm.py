"""Jobs of submitit's cluster `local`, which stands for Slurm: processes that are sent what Slurm sends."""

import signal

import pytest
from helpers import TINY, forked, read
from processes import GATED, Gate, finish

from rnnlab.sweep.slurm import Slurm

pytest.importorskip("submitit", reason="submitit is not installed (pip install 'rnnlab[slurm]')")

LAUNCHER = ["hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.jobs=1"]


def test_a_job_that_takes_longer_than_the_time_limit_goes_on_until_it_ends(in_tmp_path):
    """Before it, submitit sends SIGUSR2, to as many jobs one after the other as it takes."""
    gate = Gate(in_tmp_path)
    gate.close(60)
    long = [*TINY, "steps=300", "checkpoint.every=50", "stop_when_solved=false", "cell=rnn"]
    process = forked(in_tmp_path, "-m", *GATED, *long, *LAUNCHER)
    gate.interrupt_each(process, signal.SIGUSR2, every=60, workers=4)
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    (run,) = (in_tmp_path / "runs" / "default").iterdir()
    assert [s["from_step"] for s in read(run, "manifest.json")["sessions"]] == [0, 60, 120, 180, 240]


def test_a_warning_does_not_end_a_call_that_takes_a_moment(tmp_path):
    """As the composing does."""
    slurm = Slurm(folder=tmp_path, cluster="local", slots=1, retries=0, parameters={"timeout_min": 1})
    for number in (signal.SIGUSR2, signal.SIGTERM):
        assert slurm.submit(signal.raise_signal, number).result() is None
