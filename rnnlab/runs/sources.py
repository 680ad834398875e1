"""The user's own code and data, which determine a run beside its configuration. Imports no torch.

The hashes are those of a process's first look, for what it has imported or loaded it does not load again.
"""

import ast
import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from rnnlab.messages import listed, one_line
from rnnlab.own_code import OwnCode, content
from rnnlab.source import absolute, located, parse


def of_modules(modules: Iterable[str], packages: Collection[str] = ()) -> dict[str, str]:
    """By module name, the hash of every file of these modules: their own, and what they import of the user's own.

    An import is seen where it is written as a statement, or as `import_module("…")`; nothing is imported. Modules of
    rnnlab itself are left out: its version stands in the manifest.

    Args:
        packages: that components may come from, beside those of the modules.
    """
    left = [module for module in modules if module.partition(".")[0] != "rnnlab"]
    own = OwnCode({*packages, *(module.partition(".")[0] for module in left)})
    found: dict[str, str] = {}
    seen: set[str] = set()
    while left:
        module = left.pop()
        if module in seen or module not in own:
            continue
        seen.add(module)
        left += [module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)]
        spec = located(module)
        if spec is not None and spec.has_location and spec.origin is not None and Path(spec.origin).is_file():
            found[module] = _hash(Path(spec.origin))
            left += _imported(spec)
    return dict(sorted(found.items()))


def of_files(files: Iterable[Path]) -> dict[str, str]:
    """By name, the hash of each data file."""
    return {path.name: _hash(path) for path in sorted(files)}


def changed(before: dict[str, str], now: dict[str, str]) -> str:
    """Names of what is not the same in both, for a message; '' where nothing is."""
    names = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    return one_line(listed(names)) if names else ""


@functools.cache
def _hash(path: Path) -> str:
    if path.suffix == ".py":
        return hashlib.sha256(content(path)).hexdigest()[:16]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _imported(spec: ModuleSpec) -> tuple[str, ...]:
    """What may be modules among the names that a module imports."""
    within = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    return _imports(Path(spec.origin or ""), within)


@functools.cache
def _imports(path: Path, within: str) -> tuple[str, ...]:
    if path.suffix != ".py":
        return ()
    names: list[str] = []
    for node in ast.walk(parse(content(path))):
        for level, module, parts in _named(node):
            base = absolute(level, module, within)
            names += [base, *(f"{base}.{part}" for part in parts)] if base else []
    return tuple(dict.fromkeys(names))


def _named(node: ast.AST) -> Iterator[tuple[int, str, list[str]]]:
    """(level, module, what is taken from it) of each import that a node is."""
    match node:
        case ast.Import(names):
            yield from ((0, alias.name, []) for alias in names)
        case ast.ImportFrom(module, names, level):
            yield level or 0, module or "", [alias.name for alias in names]
        case ast.Call(
            ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
            [ast.Constant(str(name)), *_],
        ):
            yield len(name) - len(name.lstrip(".")), name.lstrip("."), []
