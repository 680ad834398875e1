"""What holds for every test: one thread, an environment of its own, and whether shapes are asserted on every call."""

import rnnlab  # first: it sets an environment variable that MKL reads once

# isort: split
import gc
import importlib
import os
import pkgutil
import shutil
import sys
from multiprocessing import popen_spawn_posix
from pathlib import Path

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent))  # tests/support.py

import prepared

torch.set_num_threads(1)

WITH_SHAPES = ("bptt", "cells", "architectures", "dropout", "adjoints")
"""Folders of tests in which the shapes of `rnnlab.bptt` and `rnnlab.cells` are asserted: a third of what those cost."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _import_checked(*packages: str) -> None:
    """Import every module of these packages with jaxtyping's shapes asserted."""
    checked = [f"rnnlab.{package}" for package in packages]
    already = [name for name in sys.modules if name.startswith(tuple(checked))]
    assert not already, f"imported before their shapes could be asserted: {already}"
    with install_import_hook(checked, "beartype.beartype"):
        for package in checked:
            for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
                importlib.import_module(module.name)


assert rnnlab.__version__
_import_checked("bptt", "cells")


def pytest_collection_finish():
    """Modules of tests have been imported, and what they import may have set variables."""
    prepared.begin_with(os.environ)
    gc.collect()
    gc.freeze()  # modules and thousands of tests are not looked through again and again


@pytest.fixture(autouse=True)
def _shapes(request):
    """Asserted on every call where that is what is tested; elsewhere the same functions are called a million times."""
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    jaxtyping.config.update("jaxtyping_disable", folder not in WITH_SHAPES)


@pytest.fixture(autouse=True)
def _environment_as_before():
    """Whatever a test or a library imported in it sets in the environment, the next test does not find it."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    """An empty current folder: runs/ is made in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def forked_workers(monkeypatch):
    """A sweep in this process has workers at once: where nothing is tested of how a worker's Python starts."""
    nursery = prepared.nursery()
    if nursery is not None:
        monkeypatch.setattr(popen_spawn_posix, "util", nursery.patched_util())


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium of the system."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox refuses to run as root, which is what a container's user often is.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()
