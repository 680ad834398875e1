"""Components as their source files have them. Nothing is imported: not the component, nor the packages it lies in.

Importing a module runs it, so a name from a stranger's file is looked up here first; and torch takes seconds.
"""

import ast
import functools
import importlib.util
import pkgutil
import warnings
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

MARKS = ("component", "checked")
"""Decorators of rnnlab.contract: of a component's class, or of its own constructor."""


def definition(target: str) -> ast.ClassDef | None:
    """The class that MODULE.NAME names, where the module's own source has it at its top level; else None.

    A name that the module only imports is none, and neither is a function.
    """
    module, _, name = target.rpartition(".")
    spec = located(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        tree = _parsed(Path(spec.origin), Path(spec.origin).stat().st_mtime_ns)
    except OSError:
        return None
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def lineage(target: str) -> Iterator[ast.ClassDef]:
    """The class that MODULE.NAME names, and those that it inherits from, as far as their sources are found."""
    node = definition(target)
    if node is not None:
        yield node
        for base in node.bases:
            yield from lineage(_where(target.rpartition(".")[0], ast.unparse(base)))


def _where(module: str, name: str) -> str:
    """MODULE.NAME of a class by its name in a module that defines it or imports it from another."""
    spec = located(module)
    tree = (
        _parsed(Path(spec.origin), Path(spec.origin).stat().st_mtime_ns) if spec and spec.origin else ast.Module([], [])
    )
    for item in tree.body:
        if isinstance(item, ast.ImportFrom) and item.module and not item.level:
            for alias in item.names:
                if name == (alias.asname or alias.name):
                    return f"{item.module}.{alias.name}"
    return f"{module}.{name}"


def located(module: str) -> ModuleSpec | None:
    """Where a module lies. `importlib.util.find_spec` would import the packages above it; this walks their folders."""
    first, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first.isidentifier() else None
    except (ImportError, ValueError):
        return None
    name = first
    for part in below:
        if spec is None or spec.submodule_search_locations is None or not part.isidentifier():
            return None
        name = f"{name}.{part}"
        spec = _within(name, spec.submodule_search_locations)
    return spec


def _within(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """As `PathFinder.find_spec`, which asks for the package above where a folder has no `__init__.py`."""
    parts = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        parts += (spec.submodule_search_locations or []) if spec is not None else []
    found = ModuleSpec(name, None, is_package=True)
    found.submodule_search_locations = parts
    return found if parts else None


@functools.lru_cache(maxsize=256)
def _parsed(source: Path, changed: int) -> ast.Module:
    return parse(source.read_bytes())


def parse(content: bytes) -> ast.Module:
    """A source of whatever encoding it declares; an empty module for one that Python cannot read."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of its author's business, which its import tells again
            return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: of deep nesting
        return ast.Module([], [])


def is_marked(node: ast.ClassDef) -> bool:
    """Whether the class, or its own constructor, has one of MARKS."""
    own = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    return any(_name(decorator) in MARKS for marked in (node, *own) for decorator in marked.decorator_list)


def _name(decorator: ast.expr) -> str:
    return ast.unparse(decorator).rpartition(".")[2]


def arguments(node: ast.ClassDef | ast.FunctionDef) -> list[tuple[str, ast.expr | None, ast.expr | None]]:
    """(name, annotation, default) of every keyword of a constructor, or of a class's fields where it has none."""
    if isinstance(node, ast.FunctionDef):
        keywords = [(a.arg, a.annotation, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
        plain = [a for a in node.args.args if a.arg != "self"]
        defaults = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
        return [(a.arg, a.annotation, d) for a, d in zip(plain, defaults, strict=True)] + keywords
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return arguments(item)
    return [
        (item.target.id, item.annotation, item.value)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and "ClassVar" not in ast.unparse(item.annotation)
    ]
