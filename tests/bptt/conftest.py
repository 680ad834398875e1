"""What the tests of the kernel's library share."""

import pytest
from kernel_place import Place


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)
