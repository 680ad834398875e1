"""Where a sweep's workers look for modules: where the sweep does, and not in the current folder.

`python -m`, by which submitit and Ray start them, would put that folder first; see rnnlab.import_path.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rnnlab
from rnnlab.import_path import is_installed


@contextmanager
def modules_from_elsewhere() -> Iterator[None]:
    """In a Python that is started in here, the environment says so."""
    wanted = variables()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def variables() -> dict[str, str]:
    """The environment of a worker's Python. Packages of the user's own it finds as this one does, once they are wanted.

    A folder of installed packages is found anyway, and would come before the standard library here.
    """
    given = map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    ours = str(Path(rnnlab.__file__).resolve().parent.parent)
    trusted = {*given, ours}
    paths = [p for p in [*sys.path, ours] if p in trusted or p not in ("", os.getcwd())]
    paths = [p for p in dict.fromkeys(paths) if not is_installed(p)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}
