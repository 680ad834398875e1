"""Where modules are searched for when a tool is started with `python -m`: not in the current folder.

Python puts that first in sys.path, before the standard library; in a folder from a stranger, a `yaml.py` or a
`torch.py` lying there would be run. Imports nothing that could lie there.
"""

import os
import sys


def is_installed(path: str) -> bool:
    """Whether it lies where packages are installed, or is the standard library's folder."""
    library = os.path.dirname(os.path.realpath(os.__file__))
    return path == library or not {"site-packages", "dist-packages"}.isdisjoint(path.split(os.sep))


def leave_current_folder() -> None:
    """Take the current folder from the front of sys.path, where `python -m` has put it.

    Packages of the user's own are found there all the same: `rnnlab.packages` appends it, where they are allowed.
    Where rnnlab itself lies in the current folder and is not installed, that is trusted already, and stays, last.
    """
    try:
        here = os.getcwd()
    except OSError as error:
        sys.exit(f"rnnlab: the current folder cannot be read ({error.strerror}). Change to another.")
    if sys.flags.safe_path or not sys.path or sys.path[0] not in ("", here):
        return
    del sys.path[0]
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if ours == os.path.realpath(here) and ours not in sys.path:
        sys.path.append(ours)
