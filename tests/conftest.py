"""What holds for every test: one thread, and the shapes in bptt and cells asserted on every call."""

import rnnlab  # first: it sets an environment variable that MKL reads once

# isort: split
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent))  # tests/support.py

torch.set_num_threads(1)


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


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    """An empty current folder: runs/ is made in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
