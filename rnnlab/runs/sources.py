"""The user's own code and data, which determine a run beside its configuration. Imports no torch.

The hashes are those of a process's first look, for what it has imported or loaded it does not load again.
"""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path


def of_modules(modules: Iterable[str]) -> dict[str, str]:
    """By module name, the hash of every file of these modules: their own, and what they import of the same package.

    An import is seen where it is written as a statement. Modules of rnnlab itself are left out: its version stands in
    the manifest.
    """
    found: dict[str, str] = {}
    left = [module for module in modules if module.split(".")[0] != "rnnlab"]
    while left:
        module = left.pop()
        if module not in found:
            hashed, imported = _read(module)
            found |= {module: hashed} if hashed else {}
            left += [name for name in imported if name not in found]
    return dict(sorted(found.items()))


def of_files(files: Iterable[Path]) -> dict[str, str]:
    """By name, the hash of each data file."""
    return {path.name: _hash(path) for path in sorted(files)}


@functools.cache
def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@functools.cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """(hash, modules of the same package that it needs); no hash where there is no file, as of a namespace."""
    spec = _spec(module)
    parents = tuple(module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1))
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return "", parents
    path = Path(spec.origin)
    if path.suffix != ".py":
        return _hash(path), parents
    content = path.read_bytes()
    imported = [name for name in _imports(ast.parse(content), spec) if _spec(name) is not None]
    return hashlib.sha256(content).hexdigest()[:16], (*parents, *imported)


def _imports(tree: ast.Module, spec: ModuleSpec) -> Iterator[str]:
    """Names of the same package that may be modules, from every import statement of a module."""
    package = spec.name.split(".")[0]
    within = spec.name if spec.submodule_search_locations is not None else spec.parent or ""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(within.split(".")[: len(within.split(".")) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] == package)


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
