"""The product is the wheel: sdist -> wheel -> a clean environment -> a run from another directory."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
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
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    # Its dependencies are those installed here; what they are is held against its imports below. An editable
    # installation is not followed: that takes a .pth file in a folder of the environment itself.
    (packages,) = (clean / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
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


def test_what_is_imported_is_declared():
    """Each package that the code imports is a dependency, or of an extra that is named where it is missed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [of for extra in project["optional-dependencies"].values() for of in extra]
    declared = {re.match(r"[A-Za-z0-9_.-]+", of)[0].lower() for of in (*project["dependencies"], *extras)}
    tools, found = {of.lower() for of in ("pytest", "ruff", "pyright", "build", "hatchling")}, set()
    for path in (*(ROOT / "rnnlab").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [of.name for of in node.names] if isinstance(node, ast.Import) else []
            found |= {name.partition(".")[0] for name in names}
    provided = packages_distributions()
    used = {of.lower() for name in found - sys.stdlib_module_names for of in provided.get(name, [name])}
    used -= {"rnnlab", "hydra_plugins"}
    assert used <= declared - tools, used - declared
    assert {"torch", "hydra-core", "scipy"} <= used
