"""`docs/design.md` says which module stands above which; no import goes upwards, and files make no circle."""

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import rnnlab

PACKAGE = Path(rnnlab.__file__).parent
DESIGN = PACKAGE.parent / "docs" / "design.md"


def test_every_module_has_its_layer():
    entries = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert entries - {"__init__"} == {name for name in _layers() if "." not in name}


def test_an_import_goes_downwards():
    layers = _layers()
    upwards = [
        f"{module} imports {imported}"
        for module, path in _files().items()
        for imported in _imported(path)
        if _layer(layers, imported) < _layer(layers, module)
    ]
    assert not upwards


def test_files_import_each_other_in_no_circle():
    files = _files()
    graph = {module: {name for name in _imported(path) if name in files} for module, path in files.items()}
    assert len(graph) > 300
    assert sum(map(len, graph.values())) > 1000
    graphlib.TopologicalSorter(graph).prepare()


def _layers() -> dict[str, int]:
    """Each module that the table names, and its row: 0 is the highest."""
    section = DESIGN.read_text().partition("## Layers")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([a-z_/]+)`", line) for line in section.splitlines() if line.startswith("| ")]
    layers = {name.strip("/").replace("/", "."): row for row, names in enumerate(rows) for name in names}
    assert len(layers) == sum(map(len, rows)), "a module stands in two rows"
    return layers


def _layer(layers: dict[str, int], module: str) -> int:
    parts = module.split(".")
    return next(layers[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in layers)


@functools.cache
def _files() -> dict[str, Path]:
    """All files by the module's name below `rnnlab`; what a package itself is called says what it exports."""
    named = {p: p.relative_to(PACKAGE).with_suffix("") for p in PACKAGE.rglob("*.py")}
    named = {p: n.parent if n.name == "__init__" else n for p, n in named.items()}
    return {".".join(n.parts): p for p, n in named.items() if n.parts}


def _imported(path: Path) -> Iterator[str]:
    """Modules of rnnlab that a file imports anywhere, but for the types' sake alone."""
    files = _files()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rnnlab":
            within = node.module.partition(".")[2]
            for alias in node.names:
                name = f"{within}.{alias.name}".strip(".")
                if name in files or within:
                    yield name if name in files else within
        elif isinstance(node, ast.Import):
            yield from (a.name.partition(".")[2] for a in node.names if a.name.startswith("rnnlab."))
