"""docs/techniques.md: every option of every group, from its YAML, its docstrings and the tests that hold its law.

    python -m rnnlab.catalogue            write it anew
    python -m rnnlab.catalogue --check    status 1 if it is not what would be written

Files are read and parsed, never imported. A module's first docstring line is name and paper, a class's first paragraph
the equation; a test says whose law it states with `@pytest.mark.technique("clipping=norm", …)`.
"""

import sys

if __name__ == "__main__":
    from rnnlab.entrance import enter

    enter()

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rnnlab.arguments import Parser
from rnnlab.groups import GROUPS as ALL

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs/techniques.md")
NOT_HERE = ("task", "input_initialiser", "output_initialiser", "probes")
"""Groups whose options are no techniques, or stand on the page already."""
GROUPS = {key: group.about for key, group in ALL.items() if key not in NOT_HERE}
HEADING = """# Techniques

Written by `make docs` from the options' YAML, docstrings and tests: do not edit.

Choose an option with `GROUP=OPTION`, change one of its keys with `GROUP.KEY=VALUE`.
"""


@dataclass(frozen=True)
class Option:
    """One option of a group. `keys` are its YAML's, `tests` are as PATH::NAME."""

    group: str
    option: str
    name: str
    paper: str
    equation: str
    keys: dict[str, object]
    tests: list[str]

    @property
    def override(self) -> str:
        return f"{self.group}={self.option}"


def techniques(root: Path = ROOT) -> list[Option]:
    """Every option of every group, in the page's order."""
    tests = marked_tests(root / "tests")
    return [
        _technique(root, group, path, tests)
        for group in GROUPS
        for path in sorted((root / "configs" / group).glob("*.yaml"))
    ]


def _technique(root: Path, group: str, path: Path, tests: dict[str, list[str]]) -> Option:
    keys = yaml.safe_load(path.read_text())
    module, _, name = keys.pop("_target_").rpartition(".")
    tree = ast.parse((root / f"{module.replace('.', '/')}.py").read_text())
    (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    title, paper = title_and_paper(ast.get_docstring(tree) or "")
    equation = re.split(r"(?<![,;])\n\n", ast.get_docstring(made) or "")[0]  # one may go on in the next paragraph
    override = f"{group}={path.stem}"
    return Option(group, path.stem, title, paper, _one_line(equation), keys, tests.get(override, []))


def title_and_paper(docstring: str) -> tuple[str, str]:
    """Of a module's docstring: what stands in the first sentence, and every (Author year) in its first paragraph."""
    first = _one_line(docstring.partition("\n\n")[0])
    papers = re.findall(r"\(([^()]*\b(?:1[89]|20)\d\d[^()]*)\)", first)
    title = re.sub(r"\s*\([^()]*\b(?:1[89]|20)\d\d[^()]*\)", "", first).rstrip(".")
    return title, "; ".join(papers)


def marked_tests(tests: Path) -> dict[str, list[str]]:
    """The tests that name an option in `@pytest.mark.technique(…)`, by option."""
    found: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for override in _marks(function):
                    found.setdefault(override, []).append(f"{path.relative_to(tests.parent)}::{function.name}")
    return found


def _marks(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.technique":
            yield from (str(ast.literal_eval(argument)) for argument in decorator.args)


def page(root: Path = ROOT) -> str:
    """The whole document."""
    parts, found = [HEADING], techniques(root)
    for group, about in GROUPS.items():
        members = [technique for technique in found if technique.group == group]
        if members:
            parts.append(f"\n## `{group}`\n\n{about}\n\n")
            parts.append("| option | what | paper | keys | law held by |\n|---|---|---|---|---|\n")
            parts += map(_row, members)
    return "".join(parts)


def _row(technique: Option) -> str:
    keys = " ".join(f"`{key}={json.dumps(value)}`" for key, value in technique.keys.items())
    tests = " ".join(f"`{test.removeprefix('tests/')}`" for test in technique.tests)
    equation = technique.equation.replace("`", "")
    what = f"{technique.name}. `{equation}`" if equation else technique.name
    cells = (f"`{technique.option}`", what, technique.paper, keys, tests)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it."""
    parser = Parser(prog="rnnlab.catalogue", description="docs/techniques.md from YAML and docstrings")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is not up to date")
    given, path, wanted = parser.parse_args(arguments), ROOT / PAGE, page()
    if not given.check:
        path.write_text(wanted)
    elif not path.exists() or path.read_text() != wanted:
        print(f"{PAGE} is not up to date: make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
