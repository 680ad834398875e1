"""The user's own code: which modules are, and that those run which their sources say. Imports nothing of it.

Python may run an older source than the one that is there. It takes a compiled file (`__pycache__`) of the same size
and second for that of the source, as rsync, tar and a quick edit leave them; a run would have the identity of code
that it has not run.
"""

import functools
import os
import sys
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from rnnlab.import_path import is_installed
from rnnlab.source import located


class OwnCode:
    """The modules of some packages, and those beside them: in the same folder, unless packages are installed there.

    A component in a single file, `act.py`, imports its neighbours as others import modules of their package.

    Args:
        packages: that components may come from; rnnlab, which has a version, is none.
    """

    def __init__(self, packages: Collection[str]) -> None:
        self._known = dict.fromkeys(packages, True) | {"rnnlab": False}
        specs = [located(package) for package in packages if package != "rnnlab"]
        self.folders = {folder for spec in specs for folder in _folders(spec) if not is_installed(folder)}

    def __contains__(self, module: str) -> bool:
        first = module.partition(".")[0]
        return self._known[first] if first in self._known else self.is_beside(first, located(first))

    def knows(self, module: str) -> bool:
        """Whether that was asked before, or needs no look."""
        return module.partition(".")[0] in self._known

    def is_beside(self, first: str, spec: ModuleSpec | None) -> bool:
        """The same of a module without a package, or a package, that was located already."""
        return self._known.setdefault(first, not self.folders.isdisjoint(_folders(spec)))


def _folders(spec: ModuleSpec | None) -> set[str]:
    """Those that a module without a package, or a package, was found in; the parts of a namespace lie in several."""
    if spec is None:
        return set()
    places = [*(spec.submodule_search_locations or ())] or ([spec.origin] if spec.has_location and spec.origin else [])
    return {os.path.realpath(os.path.dirname(place)) for place in places}


@functools.cache
def content(path: Path) -> bytes:
    """A source as it was at this process's first look: what is hashed is what is run, whenever it is imported."""
    return path.read_bytes()


def import_as_written(packages: Collection[str]) -> None:
    """From now on modules of the user's own are compiled from their sources. No compiled file is read or left."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _AsWritten)]
    sys.meta_path.insert(0, _AsWritten(OwnCode(packages)))


class _AsWritten(MetaPathFinder):
    """Before all other finders: what they find, with another loader where it is the user's own."""

    def __init__(self, own: OwnCode) -> None:
        self.own = own

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self.own.knows(fullname) and fullname not in self.own:
            return None  # the others are asked next
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next((s for finder in others if (s := finder.find_spec(fullname, path, target)) is not None), None)
        ours = fullname in self.own if "." in fullname else self.own.is_beside(fullname, spec)
        if ours and spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        return spec


class _FromSource(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(content(Path(path)), path)
