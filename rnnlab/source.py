"""Components as their source files have them. Nothing is imported: not the component, nor the packages it lies in.

Importing a module runs it, so a name from a stranger's file is looked up here first; and torch takes seconds.
"""

import ast
import functools
import importlib.util
import pkgutil
import warnings
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path

MARKS = ("component", "checked")
"""Decorators of rnnlab.contract: of a component's class, or of its own constructor."""
WITH_FIELDS = ("component", "fields")
"""Those of a class whose annotations are fields: of others, as with dataclasses, they are none."""


def definition(target: str) -> ast.ClassDef | None:
    """The class that MODULE.NAME names, where the module's own source has it at its top level; else None.

    A name that the module only imports is none, and neither is a function.
    """
    module, _, name = target.rpartition(".")
    body = _statements(located(module))
    return next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _statements(spec: ModuleSpec | None) -> list[ast.stmt]:
    """A module's, at its top level; none of what is no Python source."""
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return []
    try:
        return _parsed(Path(spec.origin), Path(spec.origin).stat().st_mtime_ns).body
    except OSError:
        return []


def lineage(target: str, below: tuple[str, ...] = ()) -> list[ast.ClassDef]:
    """The class that MODULE.NAME names and all that it inherits from, in the order in which Python looks things up.

    A base is looked for in the module that names it and where that imports it from; what is not found in a source,
    such as `nn.Module`, is left out.

    Args:
        below: classes that inherit from this one.
    """
    module, _, name = target.rpartition(".")
    if target in below:  # no class inherits from itself, and its module cannot be imported
        return []
    node, below = definition(target), (*below, target)
    if node is None:
        return lineage(_meant(module, name), below)
    found = [node]
    for base in node.bases:
        found += lineage(_meant(module, ast.unparse(base).partition("[")[0]), below)
    return list(dict.fromkeys(reversed(found)))[::-1]  # a base that two of them share comes after both


def _meant(module: str, name: str) -> str:
    """What a name in a module, such as `Base` or `other.Base`, is called from everywhere."""
    first, dot, rest = name.partition(".")
    return f"{_imports(module).get(first, f'{module}.{first}')}{dot}{rest}"


def _imports(module: str) -> dict[str, str]:
    """What the names stand for that a module imports at its top level."""
    spec, found = located(module), dict[str, str]()
    for node in _statements(spec):
        match node:
            case ast.Import(names):  # without another name, `import a.b` gives a
                found |= {a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in names}
            case ast.ImportFrom(origin, names, level):
                origin = absolute(level, origin or "", (spec and spec.parent) or "")
                found |= {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in names}
    return found


def absolute(level: int, module: str, package: str) -> str:
    """The module that an import names, in a module of this package, behind so many dots; '' for none."""
    above = package.split(".")[: len(package.split(".")) + 1 - level] if level else []
    return ".".join([*above, *([module] if module else [])])


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
    return any(_has_one_of(MARKS, marked) for marked in (node, *_constructors(node)))


def _constructors(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]


def _has_one_of(marks: tuple[str, ...], node: ast.ClassDef | ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).rpartition(".")[2] in marks for decorator in node.decorator_list)


Argument = tuple[str, ast.expr | None, ast.expr | None]
"""(name, annotation, default)."""


def arguments(target: str) -> list[Argument]:
    """What a class is made with: the keywords of its constructor, or its fields where it has none.

    Either may be inherited: the nearest constructor; fields in the order of dataclasses, a base's first.
    """
    classes = lineage(target)
    for constructor in (own for node in classes for own in _constructors(node)):
        return _keywords(constructor)
    fields = [field for node in reversed(classes) if _has_one_of(WITH_FIELDS, node) for field in _fields(node)]
    return list({field[0]: field for field in fields}.values())  # one that is declared again keeps its place


def _keywords(constructor: ast.FunctionDef) -> list[Argument]:
    given = constructor.args
    plain = [a for a in given.args if a.arg != "self"]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    named = [*zip(plain, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [(a.arg, a.annotation, default) for a, default in named]


def _fields(node: ast.ClassDef) -> list[Argument]:
    return [
        (item.target.id, item.annotation, item.value)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and "ClassVar" not in ast.unparse(item.annotation)
    ]
