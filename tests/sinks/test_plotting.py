"""Figures are the same in every folder, and after every setting of somebody else's; nothing of theirs is changed."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from rnnlab.plotting import by_default
from rnnlab.sinks.figures import heat_map, pixels

THEIRS = "text.usetex: True\nfigure.dpi: 3\n\x1b[2Jbogus: 1\n"


def test_a_matplotlibrc_of_the_current_folder_is_not_read(tmp_path) -> None:
    (tmp_path / "matplotlibrc").write_text(THEIRS)
    code = "import rnnlab.plotting, matplotlib, os; print(matplotlib.rcParams['text.usetex'], os.getcwd())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"False {tmp_path}\n", "")


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "agg"])
def test_neither_a_notebook_s_backend_nor_a_damaged_file_of_the_home_folder_has_a_say(backend, tmp_path) -> None:
    (tmp_path / "home" / ".config" / "matplotlib").mkdir(parents=True)
    (tmp_path / "home" / ".config" / "matplotlib" / "matplotlibrc").write_bytes(b"font.family: b\xe9\n")
    environment = {**os.environ, "MPLBACKEND": backend, "HOME": "home"}  # relative
    code = "import rnnlab.plotting, os; print(os.environ['HOME'], os.environ['MPLBACKEND'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == (f"home {backend}\n", "")
    assert not Path("/home/.cache/matplotlib").exists(), "a relative folder is not one of the root's"


@pytest.mark.parametrize("setting", [{"text.usetex": True}, {"font.size": 30}, {"image.interpolation": "nearest"}])
def test_pictures_do_not_follow_what_a_program_has_set_and_leave_it(setting) -> None:
    def draw() -> np.ndarray:
        return pixels(heat_map([1, 2], np.ones((2, 5)), state="h", unit="nats", seeds=1))

    first = draw()
    with matplotlib.rc_context(setting):
        before = dict(matplotlib.rcParams)
        assert (draw() == first).all()
        assert dict(matplotlib.rcParams) == before


def test_settings_are_as_they_were_after_a_drawing_that_fails() -> None:
    @by_default()
    def fail() -> None:
        assert matplotlib.rcParams["font.size"] == 10
        raise ZeroDivisionError

    with matplotlib.rc_context({"font.size": 30}):
        with pytest.raises(ZeroDivisionError):
            fail()
        assert matplotlib.rcParams["font.size"] == 30
