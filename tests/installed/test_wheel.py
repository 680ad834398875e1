"""The product is the wheel: sdist -> wheel -> a clean environment -> a run from another directory."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def call(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_wheel_runs_elsewhere(tmp_path):
    # --no-isolation: the build tools are those of constraints.txt, already installed.
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT), cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert list((tmp_path / "dist").glob("*.tar.gz"))
    names, fused = zipfile.ZipFile(wheel).namelist(), "rnnlab/bptt/fused"
    assert {f"{fused}/kernel.cpp", f"{fused}/kernels/time_loops.py"} <= set(names)
    assert "hydra_plugins/rnnlab_launchers/local.py" in names
    assert "hydra_plugins/__init__.py" not in names, "the folder is shared with other packages"
    clean = tmp_path / "clean"
    venv.create(clean, with_pip=True)
    python = str(clean / "bin" / "python")
    pip = (
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        str(ROOT / "constraints.txt"),
    )
    call(*pip, "setuptools", cwd=tmp_path)
    call(*pip, "--no-build-isolation", str(wheel), cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = call(python, "-c", "import rnnlab; print(rnnlab.__file__)", cwd=elsewhere)
    assert str(clean) in where
    output = call(python, "-m", "rnnlab", "+experiment=smoke", cwd=elsewhere)
    assert "steps to solve" in output
    (run,) = (elsewhere / "runs" / "smoke").iterdir()
    assert (run / "summary.json").exists()
    assert list((run / "tensorboard").iterdir())
    console_script = call(str(clean / "bin" / "rnnlab"), "+experiment=smoke", cwd=elsewhere)
    assert "finished already" in console_script
    sweep = call(str(clean / "bin" / "rnnlab"), "-m", "+experiment=smoke", "cell=lstm,rnn", cwd=elsewhere)
    assert "2 jobs: 1 finished, 1 finished before, 0 failed" in sweep
