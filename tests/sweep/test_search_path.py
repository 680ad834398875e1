"""What a worker's Python imports, however it is started."""

import os
import subprocess
import sys

import pytest

from rnnlab.sweep.search_path import modules_from_elsewhere, variables


@pytest.mark.parametrize("given", [None, "/elsewhere"])
def test_a_worker_takes_rnnlab_from_here_and_nothing_from_the_current_folder(given, in_tmp_path, monkeypatch) -> None:
    for name in ("json", "numpy", "uuid"):
        (in_tmp_path / f"{name}.py").write_text("open('pwned', 'w')\n")
    monkeypatch.delenv("PYTHONPATH", raising=False) if given is None else monkeypatch.setenv("PYTHONPATH", given)
    sys.path.append(str(in_tmp_path))  # as where packages of the user's own are allowed
    before = dict(os.environ)
    try:
        with modules_from_elsewhere():
            subprocess.run([sys.executable, "-m", "rnnlab.example", "task=copy"], check=True, stdout=subprocess.DEVNULL)
            code = "import json, numpy, uuid, rnnlab; print(rnnlab.__file__)"
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    finally:
        sys.path.remove(str(in_tmp_path))
    assert done.stdout.strip() == sys.modules["rnnlab"].__file__
    assert not (in_tmp_path / "pwned").exists()
    assert dict(os.environ) == before


def test_the_current_folder_is_searched_where_the_environment_says_so(in_tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", ["", str(in_tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert str(in_tmp_path) not in variables()["PYTHONPATH"].split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere:.")
    assert str(in_tmp_path) in variables()["PYTHONPATH"].split(os.pathsep)
